// The only nonlinearities, in forms that neither overflow nor turn a NaN into a number. The numbers
// and parameters are those of `Activation::shader_code`. Products are added by fma, so that every
// pipeline rounds alike whatever its compiler would contract.

const SELU_ALPHA = 1.6732632423543772;
const SELU_SCALE = 1.0507009873554805;
const GELU_SCALE = 0.7978845608028654;
const GELU_CUBIC = 0.044715;
const SQRT_HALF = 0.7071067811865476;
// Stands for an infinite parameter, which pipeline constants cannot hold.
const UNBOUNDED = 3.4028234663852886e38;

fn splat(x: f32) -> vec4<f32> {
    return vec4<f32>(x);
}

fn sigmoid_stable(x: vec4<f32>) -> vec4<f32> {
    let t = exp(-abs(x));
    return select(splat(1.0), t, x < splat(0.0)) / (1.0 + t);
}

// Below 0.625 the odd polynomial of Cephes' tanhf keeps the relative accuracy.
fn tanh_stable(x: vec4<f32>) -> vec4<f32> {
    let a = abs(x);
    let t = exp(-2.0 * a);
    let r = (1.0 - t) / (1.0 + t);
    let z = x * x;
    var p = fma(splat(-5.70498872745e-3), z, splat(2.06390887954e-2));
    p = fma(p, z, splat(-5.37397155531e-2));
    p = fma(p, z, splat(1.33314422036e-1));
    p = fma(p, z, splat(-3.33332819422e-1));
    let small = fma(p * z, x, x);
    return select(select(r, -r, x < splat(0.0)), small, a < splat(0.625));
}

// log(1 + t) for t in [0, 1]; a series where the sum would lose t.
fn log1p_unit(t: vec4<f32>) -> vec4<f32> {
    var p = fma(t, splat(0.2), splat(-0.25));
    p = fma(p, t, splat(0.33333333));
    p = fma(p, t, splat(-0.5));
    let small = fma(p * t, t, t);
    return select(log(1.0 + t), small, t < splat(0.0625));
}

// exp(x) - 1 for x <= 0; a series where the difference would lose x.
fn expm1_negative(x: vec4<f32>) -> vec4<f32> {
    let y = min(x, splat(0.0));
    var p = fma(y, splat(1.3888889e-3), splat(8.3333333e-3));
    p = fma(p, y, splat(4.1666667e-2));
    p = fma(p, y, splat(0.16666667));
    p = fma(p, y, splat(0.5));
    let small = fma(p * y, y, y);
    return select(exp(y) - 1.0, small, y > splat(-0.25));
}

fn softplus(x: vec4<f32>) -> vec4<f32> {
    return max(x, splat(0.0)) + log1p_unit(exp(-abs(x)));
}

fn elu(x: vec4<f32>, alpha: f32) -> vec4<f32> {
    return select(alpha * expm1_negative(x), x, x > splat(0.0));
}

// 1 - erf(z) for z >= 0: Chebyshev fit of Numerical Recipes, relative error below 1.2e-7.
fn erfc_positive(z: vec4<f32>) -> vec4<f32> {
    let t = 1.0 / fma(splat(0.5), z, splat(1.0));
    var p = fma(t, splat(0.17087277), splat(-0.82215223));
    p = fma(p, t, splat(1.48851587));
    p = fma(p, t, splat(-1.13520398));
    p = fma(p, t, splat(0.27886807));
    p = fma(p, t, splat(-0.18628806));
    p = fma(p, t, splat(0.09678418));
    p = fma(p, t, splat(0.37409196));
    p = fma(p, t, splat(1.00002368));
    p = fma(p, t, splat(-1.26551223));
    return t * exp(fma(-z, z, p));
}

// clamp() may turn a NaN into a bound.
fn clamp_number(x: vec4<f32>, low: f32, high: f32) -> vec4<f32> {
    return select(clamp(x, splat(low), splat(high)), x, is_nan(x));
}

fn gelu(x: vec4<f32>) -> vec4<f32> {
    let tail = erfc_positive(abs(x) * SQRT_HALF);
    return x * (0.5 * select(2.0 - tail, tail, x < splat(0.0)));
}

fn gelu_tanh(x: vec4<f32>) -> vec4<f32> {
    let cubic = fma(x * x * x, splat(GELU_CUBIC), x);
    return 0.5 * x * (1.0 + tanh_stable(GELU_SCALE * cubic));
}

// (x + sqrt(x^2 + b)) / 2; negative x by the conjugate, which does not cancel.
fn squareplus(x: vec4<f32>, b: f32) -> vec4<f32> {
    let a = abs(x);
    let root = select(a, sqrt(fma(x, x, splat(b))), a < splat(1e18));
    return select(0.5 * (x + root), 0.5 * b / (root + a), x < splat(0.0));
}

// inf / inf is NaN, as in Keras; the divisor leaves the exact range of division before that.
fn softsign(x: vec4<f32>) -> vec4<f32> {
    let a = abs(x);
    let far = select(sign(x), nan_like(x), a > splat(UNBOUNDED));
    return select(x / (1.0 + a), far, a > splat(1e30));
}

fn activate_number(kind: u32, a: f32, b: f32, c: f32, x: vec4<f32>) -> vec4<f32> {
    let zero = splat(0.0);
    let one = splat(1.0);
    switch kind {
        case 1u: { return sigmoid_stable(x); }
        case 2u: { return tanh_stable(x); }
        case 3u: {
            let above = select(min(x, splat(b)), x, vec4<bool>(b >= UNBOUNDED));
            let below = select(a * (x - c), zero, vec4<bool>(a == 0.0));
            return select(below, above, x > splat(c));
        }
        case 4u: { return elu(x, a); }
        case 5u: { return SELU_SCALE * elu(x, SELU_ALPHA); }
        case 6u: { return select(a * expm1_negative(x / a), x, x > zero); }
        case 7u: { return exp(x); }
        case 8u: { return softplus(x); }
        case 9u: { return softsign(x); }
        case 10u: { return x * sigmoid_stable(x); }
        case 11u: { return gelu(x); }
        case 12u: { return gelu_tanh(x); }
        case 13u: { return clamp_number(fma(splat(a), x, splat(b)), 0.0, 1.0); }
        case 14u: { return x * clamp(x / 6.0 + 0.5, zero, one); }
        case 15u: { return clamp(x, -one, one); }
        case 16u: { return select(zero, x, abs(x) > splat(a)); }
        case 17u: { return select(select(zero, x + a, x < splat(-a)), x - a, x > splat(a)); }
        case 18u: { return x - tanh_stable(x); }
        case 19u: { return -softplus(-x); }
        case 20u: { return x * tanh_stable(softplus(x)); }
        case 21u: { return select(select(0.25 * (x + 1.0) * (x + 1.0), x, x >= one), zero, x <= -one); }
        case 22u: { return select(select(0.5 * (x + 1.0), one, x >= one), zero, x <= -one); }
        case 23u: { return squareplus(x, a); }
        case 24u: { return fma(splat(a), x, splat(b)); }
        default: { return x; }
    }
}

fn activate(kind: u32, a: f32, b: f32, c: f32, x: vec4<f32>) -> vec4<f32> {
    return select(activate_number(kind, a, b, c, x), x, is_nan(x));
}
