
// They have no scales.
const SCALE_GROUPS = 0u;

fn load_scale(index: u32) -> f32 {
    return 1.0;
}

fn scaled(sum: Rows, scale: f32, bias: f32) -> Rows {
    return sum + bias;
}
