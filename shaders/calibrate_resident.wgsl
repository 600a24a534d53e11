// One invocation of a workgroup works through a chain of multiply-adds, each of which waits for the one before
// it; the others wait for it at a barrier and so keep their place on the device. As long as all workgroups have
// a place, many take no longer than one.

struct Params {
    rounds: u32,
    factor: f32,
    addend: f32,
    never: f32,   // what the end of no chain is
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> output: array<f32>; // [1]

@compute @workgroup_size(256)
fn main(@builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    // Plus 0, which no compiler knows: lavapipe compiles anew for each value of a parameter that ends a loop.
    let rounds = params.rounds + (count.x >> 16u);
    var x = params.addend;
    if (index == 0u) {
        for (var k = 0u; k < rounds; k++) {
            x = fma(x, params.factor, params.addend);
            x = fma(x, params.factor, params.addend);
            x = fma(x, params.factor, params.addend);
            x = fma(x, params.factor, params.addend);
            x = fma(x, params.factor, params.addend);
            x = fma(x, params.factor, params.addend);
            x = fma(x, params.factor, params.addend);
            x = fma(x, params.factor, params.addend);
        }
    }
    workgroupBarrier();
    // Not known to the compiler to be false, so that it cannot leave out the chain.
    if (x == params.never) {
        output[0] = x;
    }
}
