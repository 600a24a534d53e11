// output = left . right for many matrices, 32 rows and 32 columns per workgroup, 4 x 4 per invocation. Terms are
// added in chunks of 64, the chunks in order, so that an output's bits depend on its row and column alone.

// Whether matrices of `right` are [n, k] instead of [k, n].
override TRANSPOSED: u32 = 0u;

const SIDE = 32u;
const STAGE = 16u; // terms staged at a time
const CHUNK = 64u;
const PITCH = 9u;  // of the tiles, odd so that staging writes spread over the banks

struct Params {
    end: u32,   // workgroups with work, those before `first` included
    first: u32,
    m: u32,
    n: u32,
    k: u32,
    rank: u32,
    axes: array<vec4<u32>, 4>, // of the matrices: extent, then strides of left, right and output
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> left: array<f32>; // [.., m, k]
@group(0) @binding(2) var<storage, read> right: array<f32>; // [.., k, n] or [.., n, k]
@group(0) @binding(3) var<storage, read_write> output: array<f32>; // [.., m, n]

var<workgroup> left_tile: array<vec4<f32>, 144>; // [STAGE, PITCH] of four rows
var<workgroup> right_tile: array<vec4<f32>, 144>; // [STAGE, PITCH] of four columns

// Term `k` of the four rows from `row`; what is not there reads as zero.
fn load_left(start: u32, row: u32, k: u32) -> vec4<f32> {
    var x = vec4<f32>(0.0);
    if (k < params.k) {
        let at = start + row * params.k + k;
        if (row < params.m) { x.x = left[at]; }
        if (row + 1u < params.m) { x.y = left[at + params.k]; }
        if (row + 2u < params.m) { x.z = left[at + 2u * params.k]; }
        if (row + 3u < params.m) { x.w = left[at + 3u * params.k]; }
    }
    return x;
}

// Term `k` of the four columns from `column`.
fn load_right(start: u32, column: u32, k: u32) -> vec4<f32> {
    var x = vec4<f32>(0.0);
    if (k < params.k) {
        let across = select(1u, params.k, TRANSPOSED != 0u);
        let at = start + select(k * params.n + column, column * params.k + k, TRANSPOSED != 0u);
        if (column < params.n) { x.x = right[at]; }
        if (column + 1u < params.n) { x.y = right[at + across]; }
        if (column + 2u < params.n) { x.z = right[at + 2u * across]; }
        if (column + 3u < params.n) { x.w = right[at + 3u * across]; }
    }
    return x;
}

fn store(row: u32, start: u32, column: u32, y: vec4<f32>) {
    if (row >= params.m) {
        return;
    }
    let at = start + row * params.n + column;
    if (column < params.n) { output[at] = y.x; }
    if (column + 1u < params.n) { output[at + 1u] = y.y; }
    if (column + 2u < params.n) { output[at + 2u] = y.z; }
    if (column + 3u < params.n) { output[at + 3u] = y.w; }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let workgroup = params.first + workgroup_index(id, count);
    if (workgroup >= params.end) {
        return;
    }
    let column_blocks = (params.n + SIDE - 1u) / SIDE;
    let blocks = (params.m + SIDE - 1u) / SIDE * column_blocks;
    let block = workgroup % blocks;
    let first_row = block / column_blocks * SIDE;
    let first_column = block % column_blocks * SIDE;
    // First elements of the matrices.
    var at = vec3<u32>(0u);
    var rest = workgroup / blocks;
    for (var axis = params.rank; axis > 0u; axis--) {
        let a = params.axes[axis - 1u];
        at += rest % a.x * a.yzw;
        rest = rest / a.x;
    }
    let tx = index % 8u;
    let ty = index / 8u;

    var total0 = vec4<f32>(0.0);
    var total1 = vec4<f32>(0.0);
    var total2 = vec4<f32>(0.0);
    var total3 = vec4<f32>(0.0);
    for (var chunk = 0u; chunk < params.k; chunk += CHUNK) {
        var sum0 = vec4<f32>(0.0);
        var sum1 = vec4<f32>(0.0);
        var sum2 = vec4<f32>(0.0);
        var sum3 = vec4<f32>(0.0);
        let end = min(chunk + CHUNK, params.k);
        for (var start = chunk; start < end; start += STAGE) {
            workgroupBarrier();
            for (var half = 0u; half < 2u; half++) {
                // Neighbours stage neighbouring terms, or columns where those lie side by side.
                let term = index % STAGE;
                let group = index / STAGE + 4u * half;
                left_tile[term * PITCH + group] = load_left(at.x, first_row + 4u * group, start + term);
                if (TRANSPOSED != 0u) {
                    right_tile[term * PITCH + group] = load_right(at.y, first_column + 4u * group, start + term);
                } else {
                    let own = ty + 8u * half;
                    right_tile[own * PITCH + tx] = load_right(at.y, first_column + 4u * tx, start + own);
                }
            }
            workgroupBarrier();
            for (var term = 0u; term < STAGE; term++) {
                let x = left_tile[term * PITCH + ty];
                let w = right_tile[term * PITCH + tx];
                sum0 = fma(vec4<f32>(x.x), w, sum0);
                sum1 = fma(vec4<f32>(x.y), w, sum1);
                sum2 = fma(vec4<f32>(x.z), w, sum2);
                sum3 = fma(vec4<f32>(x.w), w, sum3);
            }
        }
        total0 += sum0;
        total1 += sum1;
        total2 += sum2;
        total3 += sum3;
    }
    let row = first_row + 4u * ty;
    let column = first_column + 4u * tx;
    store(row, at.z, column, total0);
    store(row + 1u, at.z, column, total1);
    store(row + 2u, at.z, column, total2);
    store(row + 3u, at.z, column, total3);
}
