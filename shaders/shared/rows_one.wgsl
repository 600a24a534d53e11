// A value of one row, where a vector of four would mostly be empty. The same arithmetic, so the same bits.

const ROWS = 1u;
alias Rows = f32;
alias RowFlags = bool;
alias RowBits = u32;
alias RowInts = i32;

fn words_at(words: array<u32, 7>, i: RowBits) -> RowBits {
    var all = words;
    return all[i];
}
