// Multiply-adds within registers, 128 per invocation and round: eight chains of vectors, so that none waits for
// the one before it.

struct Params {
    rounds: u32,
    factor: f32,
    addend: f32,
    never: f32,   // what no sum is
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> output: array<f32>; // [1]

fn four_times(x: vec4<f32>, factor: vec4<f32>, addend: vec4<f32>) -> vec4<f32> {
    return fma(fma(fma(fma(x, factor, addend), factor, addend), factor, addend), factor, addend);
}

@compute @workgroup_size(256)
fn main(@builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    // Plus 0, which no compiler knows: lavapipe compiles anew for each value of a parameter that ends a loop.
    let rounds = params.rounds + (count.x >> 16u);
    let factor = vec4<f32>(params.factor);
    let addend = vec4<f32>(params.addend);
    var a = vec4<f32>(f32(index));
    var b = a + addend;
    var c = b + addend;
    var d = c + addend;
    var e = d + addend;
    var f = e + addend;
    var g = f + addend;
    var h = g + addend;
    for (var k = 0u; k < rounds; k++) {
        a = four_times(a, factor, addend);
        b = four_times(b, factor, addend);
        c = four_times(c, factor, addend);
        d = four_times(d, factor, addend);
        e = four_times(e, factor, addend);
        f = four_times(f, factor, addend);
        g = four_times(g, factor, addend);
        h = four_times(h, factor, addend);
    }
    let sum = ((a + b) + (c + d)) + ((e + f) + (g + h));
    // Not known to the compiler to be false, so that it cannot leave out the work.
    if (dot(sum, vec4<f32>(1.0)) == params.never) {
        output[0] = sum.x;
    }
}
