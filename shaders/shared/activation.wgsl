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

fn splat(x: f32) -> Rows {
    return Rows(x);
}

fn sigmoid_stable(x: Rows) -> Rows {
    let t = exp(-abs(x));
    return select(splat(1.0), t, x < splat(0.0)) / (1.0 + t);
}

// Below 0.625 the odd polynomial of Cephes' tanhf keeps the relative accuracy.
fn tanh_stable(x: Rows) -> Rows {
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
fn log1p_unit(t: Rows) -> Rows {
    var p = fma(t, splat(0.2), splat(-0.25));
    p = fma(p, t, splat(0.33333333));
    p = fma(p, t, splat(-0.5));
    let small = fma(p * t, t, t);
    return select(log(1.0 + t), small, t < splat(0.0625));
}

// exp(x) - 1 for x <= 0; a series where the difference would lose x.
fn expm1_negative(x: Rows) -> Rows {
    let y = min(x, splat(0.0));
    var p = fma(y, splat(1.3888889e-3), splat(8.3333333e-3));
    p = fma(p, y, splat(4.1666667e-2));
    p = fma(p, y, splat(0.16666667));
    p = fma(p, y, splat(0.5));
    let small = fma(p * y, y, y);
    return select(exp(y) - 1.0, small, y > splat(-0.25));
}

fn softplus(x: Rows) -> Rows {
    return max(x, splat(0.0)) + log1p_unit(exp(-abs(x)));
}

fn elu(x: Rows, alpha: f32) -> Rows {
    return select(alpha * expm1_negative(x), x, x > splat(0.0));
}

// 1 - erf(z) for z >= 0: Chebyshev fit of Numerical Recipes, relative error below 1.2e-7.
fn erfc_positive(z: Rows) -> Rows {
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
fn clamp_number(x: Rows, low: f32, high: f32) -> Rows {
    return select(clamp(x, splat(low), splat(high)), x, is_nan(x));
}

fn gelu(x: Rows) -> Rows {
    let tail = erfc_positive(abs(x) * SQRT_HALF);
    return x * (0.5 * select(2.0 - tail, tail, x < splat(0.0)));
}

fn gelu_tanh(x: Rows) -> Rows {
    let cubic = fma(x * x * x, splat(GELU_CUBIC), x);
    return 0.5 * x * (1.0 + tanh_stable(GELU_SCALE * cubic));
}

// (x + sqrt(x^2 + b)) / 2; negative x by the conjugate, which does not cancel.
fn squareplus(x: Rows, b: f32) -> Rows {
    let a = abs(x);
    let root = select(a, sqrt(fma(x, x, splat(b))), a < splat(1e18));
    return select(0.5 * (x + root), 0.5 * b / (root + a), x < splat(0.0));
}

// inf / inf is NaN, as in Keras; the divisor leaves the exact range of division before that.
fn softsign(x: Rows) -> Rows {
    let a = abs(x);
    let far = select(sign(x), nan_like(x), a > splat(UNBOUNDED));
    return select(x / (1.0 + a), far, a > splat(1e30));
}

// min(max(x, low), high); bit 0 of `bounds` says that there is a lower bound, bit 1 an upper one.
fn clip(x: Rows, low: f32, high: f32, bounds: u32) -> Rows {
    let above = select(x, max(x, splat(low)), RowFlags((bounds & 1u) != 0u));
    return select(above, min(above, splat(high)), RowFlags((bounds & 2u) != 0u));
}

// `x` with all bits of an exponent set and none of the fraction: infinite, with its sign.
fn infinite_like(x: Rows) -> Rows {
    return bitcast<Rows>((bitcast<RowBits>(x) & RowBits(0x80000000u)) | RowBits(0x7f800000u));
}

// Denormal numbers are scaled up first; NaN below 0, infinite at both ends.
fn log_number(x: Rows) -> Rows {
    let small = x < splat(1e-30);
    let y = log(select(x, x * 1.2676506e30, small)) - select(splat(0.0), splat(69.314718), small);
    let ends = select(y, infinite_like(x), x > splat(UNBOUNDED));
    return select(select(ends, infinite_like(splat(-1.0) - abs(x)), x == splat(0.0)), nan_like(x), x < splat(0.0));
}

fn sqrt_number(x: Rows) -> Rows {
    let y = select(sqrt(x), x, (x > splat(UNBOUNDED)) | (x == splat(0.0)));
    return select(y, nan_like(x), x < splat(0.0));
}

fn reciprocal(x: Rows) -> Rows {
    return select(1.0 / x, infinite_like(x), x == splat(0.0));
}

// Below 1 the odd polynomial of Cephes' erff keeps the relative accuracy.
fn erf(x: Rows) -> Rows {
    let a = abs(x);
    let z = x * x;
    var p = fma(z, splat(7.853861353e-5), splat(-8.010193626e-4));
    p = fma(p, z, splat(5.188327686e-3));
    p = fma(p, z, splat(-2.685381193e-2));
    p = fma(p, z, splat(1.128358515e-1));
    p = fma(p, z, splat(-3.761262582e-1));
    p = fma(p, z, splat(1.128379167));
    let far = 1.0 - erfc_positive(a);
    return select(select(far, -far, x < splat(0.0)), p * x, a < splat(1.0));
}

// Word `i` of 2 / pi in binary, 32 bits each, after one of zeros.
fn two_over_pi(i: RowBits) -> RowBits {
    let words = array<u32, 7>(0u, 0xa2f9836eu, 0x4e441529u, 0xfc2757d1u, 0xf534ddc0u, 0xdb629599u, 0x3c439041u);
    return words_at(words, i);
}

// |x| in quarters of a turn: in units of 2^-30 quarters, whole turns dropped, off by a few units. |x| is a
// number of 24 bits times a power of two, so of 2 / pi only 64 bits from a place that depends on the power matter
// (the method of Payne and Hanek). For |x| of 0.5 at least.
fn quarters(x: Rows) -> RowBits {
    let bits = bitcast<RowBits>(x);
    let number = (bits & RowBits(0x7fffffu)) | RowBits(0x800000u);
    let place = max((bits >> RowBits(23u)) & RowBits(0xffu), RowBits(120u)) - RowBits(120u);
    let first = place >> RowBits(5u);
    let shift = place & RowBits(31u);
    // A shift by 32 would be one by 0.
    let rest = RowBits(31u) - shift;
    let middle = two_over_pi(first + RowBits(1u));
    let high = (two_over_pi(first) << shift) | ((middle >> RowBits(1u)) >> rest);
    let low = (middle << shift) | ((two_over_pi(first + RowBits(2u)) >> RowBits(1u)) >> rest);
    // The upper half of number * low, in parts that fit.
    let carry = (((number >> RowBits(8u)) * (low >> RowBits(16u))) >> RowBits(8u))
        + (((number & RowBits(0xffu)) * (low >> RowBits(16u))) >> RowBits(16u))
        + (((number >> RowBits(8u)) * (low & RowBits(0xffffu))) >> RowBits(24u));
    return number * high + carry;
}

// The sine `ahead` quarters of a turn after `x`. The builtins are exact to 2^-11 only, and in one turn only.
fn sine(x: Rows, ahead: u32) -> Rows {
    let near = abs(x) < splat(0.5);
    let turned = select(quarters(x), RowBits(0u), near);
    let nearest = (turned + RowBits(0x20000000u)) >> RowBits(30u);
    let left = Rows(bitcast<RowInts>(turned - (nearest << RowBits(30u)))) * 1.4629180792671596e-9;
    let negative = x < splat(0.0);
    let r = select(select(left, -left, negative), x, near);
    let quarter = select(nearest, RowBits(0u) - nearest, negative) + RowBits(ahead);
    // Polynomials of Cephes' sinf on an eighth of a turn either side.
    let z = r * r;
    var s = fma(z, splat(-1.9515295891e-4), splat(8.3321608736e-3));
    s = fma(s, z, splat(-1.6666654611e-1));
    s = fma(s * z, r, r);
    var c = fma(z, splat(2.443315711809948e-5), splat(-1.388731625493765e-3));
    c = fma(c, z, splat(4.166664568298827e-2));
    c = fma(c * z, z, fma(z, splat(-0.5), splat(1.0)));
    let y = select(s, c, (quarter & RowBits(1u)) != RowBits(0u));
    let signed = select(y, -y, (quarter & RowBits(2u)) != RowBits(0u));
    return select(signed, nan_like(x), abs(x) > splat(UNBOUNDED));
}

fn activate_number(kind: u32, a: f32, b: f32, c: f32, x: Rows) -> Rows {
    let zero = splat(0.0);
    let one = splat(1.0);
    switch kind {
        case 1u: { return sigmoid_stable(x); }
        case 2u: { return tanh_stable(x); }
        case 3u: {
            let above = select(min(x, splat(b)), x, RowFlags(b >= UNBOUNDED));
            let below = select(a * (x - c), zero, RowFlags(a == 0.0));
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
        case 25u: { return a * tanh_stable(b * x); }
        case 26u: { return clip(x, a, b, u32(c)); }
        case 27u: { return sqrt_number(x); }
        case 28u: { return log_number(x); }
        case 29u: { return abs(x); }
        case 30u: { return reciprocal(x); }
        case 31u: { return erf(x); }
        case 32u: { return floor(x); }
        case 33u: { return ceil(x); }
        case 34u: { return round(x); }
        case 35u: { return trunc(x); }
        case 36u: { return sign(x); }
        case 37u: { return sine(x, 0u); }
        case 38u: { return sine(x, 1u); }
        default: { return x; }
    }
}

fn activate(kind: u32, a: f32, b: f32, c: f32, x: Rows) -> Rows {
    return select(activate_number(kind, a, b, c, x), x, is_nan(x));
}
