// A value of four rows, the components of a vector; rows beyond the last read as zero and are not written.

const ROWS = 4u;
alias Rows = vec4<f32>;
alias RowFlags = vec4<bool>;
alias RowBits = vec4<u32>;
alias RowInts = vec4<i32>;

fn words_at(words: array<u32, 7>, i: RowBits) -> RowBits {
    var all = words;
    return RowBits(all[i.x], all[i.y], all[i.z], all[i.w]);
}
