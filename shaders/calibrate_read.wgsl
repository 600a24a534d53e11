// Reads a buffer over and over, four vectors a round, neighbouring invocations side by side: how fast memory
// and caches are.

struct Params {
    vectors: u32, // a power of two
    rounds: u32,
    stride: u32,  // from one vector of an invocation to its next
    never: f32,   // what no sum is
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4<f32>>; // [vectors]
@group(0) @binding(2) var<storage, read_write> output: array<f32>; // [1]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    // Plus 0, which no compiler knows: lavapipe compiles anew for each value of a parameter that ends a loop.
    let rounds = params.rounds + (count.x >> 16u);
    let last = params.vectors - 1u;
    let stride = params.stride;
    var at = workgroup_index(id, count) * 256u + index;
    var sum = vec4<f32>(0.0);
    for (var k = 0u; k < rounds; k++) {
        let a = input[at & last];
        let b = input[(at + stride) & last];
        let c = input[(at + 2u * stride) & last];
        let d = input[(at + 3u * stride) & last];
        sum += (a + b) + (c + d);
        at += 4u * stride;
    }
    // Not known to the compiler to be false, so that it cannot leave out the loads.
    if (dot(sum, vec4<f32>(1.0)) == params.never) {
        output[0] = sum.x;
    }
}
