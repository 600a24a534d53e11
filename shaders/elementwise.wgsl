// output = activation(left op right) over up to six axes, each operand with its own strides: maps,
// broadcasting arithmetic, transposes and block copies. A negative stride wraps round.

// 0: left, 1: left + right, 2: left - right, 3: left * right, 4: the larger, NaN if either is,
// 5: left where right is not 0, else 0, 6: left / right, 7: the smaller, NaN if either is, 8: 1 where both
// are equal, else 0, 9: 1 where left is less, else 0.
override OPERATION: u32 = 0u;

struct Params {
    count: u32,
    rank: u32,
    left_start: u32,
    right_start: u32,
    output_start: u32,
    axes: array<vec4<u32>, 6>, // extent, then strides of left, right and output
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> left: array<f32>; // [..]
@group(0) @binding(2) var<storage, read> right: array<f32>; // [..]
@group(0) @binding(3) var<storage, read_write> output: array<f32>; // [..]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let i = workgroup_index(id, count) * 256u + index;
    if (i >= params.count) {
        return;
    }
    var at = vec3<u32>(params.left_start, params.right_start, params.output_start);
    var rest = i;
    for (var axis = params.rank; axis > 0u; axis--) {
        let a = params.axes[axis - 1u];
        at += rest % a.x * a.yzw;
        rest = rest / a.x;
    }
    var y = vec4<f32>(left[at.x]);
    if (OPERATION != 0u) {
        let r = vec4<f32>(right[at.y]);
        switch OPERATION {
            case 1u: { y = y + r; }
            case 2u: { y = y - r; }
            case 3u: { y = y * r; }
            case 5u: { y = select(vec4<f32>(0.0), y, (r != vec4<f32>(0.0)) | is_nan(r)); }
            case 6u: { y = y / r; }
            case 8u: { y = select(vec4<f32>(0.0), vec4<f32>(1.0), (y == r) & !(is_nan(y) | is_nan(r))); }
            case 9u: { y = select(vec4<f32>(0.0), vec4<f32>(1.0), (y < r) & !(is_nan(y) | is_nan(r))); }
            default: {
                let number = select(y, r, select(r > y, r < y, vec4<bool>(OPERATION == 7u)));
                y = select(select(number, r, is_nan(r)), y, is_nan(y));
            }
        }
    }
    output[at.z] = activation(y).x;
}
