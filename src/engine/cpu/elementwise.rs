//! Functions of one value, written so that the compiler turns a loop over them into vectors.
//!
//! They use additions, products, fused multiply-adds and bit patterns only, each correctly rounded
//! everywhere, so they give the same bits on every machine; a library's `exp` or `tanh` would not.
//! Errors are measured against float64 in the tests below.

#![expect(clippy::excessive_precision, reason = "coefficients as they were published")]

use super::lanes::LANES;
use crate::model::Activation;

/// Values nearer to zero than this become zero where they would otherwise decay for ever:
/// probabilities, gradients of activations, momentum. Denormal numbers never arise from them, which
/// cost a processor a hundred cycles each, and what is lost is far below one rounding of a weight.
pub const TINY: f32 = 8.673_617e-19; // 2^-60

/// A value, or zero if it is nearer to zero than [`TINY`].
#[inline(always)]
pub fn flush(x: f32) -> f32 {
    if x.abs() < TINY { 0.0 } else { x }
}

/// `e^x` for `x <= 88`; zero below -87, NaN for NaN. Relative error under 2e-7.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer in the low bits
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Not `max`: a NaN has to stay one.
    let clamped = if x < -87.0 { -87.0 } else { x };
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, MAGIC);
    let n = shifted - MAGIC;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, clamped));
    // Cephes expf: e^r = 1 + r + r^2 p(r) on |r| <= ln 2 / 2.
    let p = 1.987_569_1e-4f32;
    let p = p.mul_add(r, 1.398_199_9e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_5e-1);
    let p = p.mul_add(r, 0.5);
    let e = p.mul_add(r * r, r) + 1.0;
    let power = f32::from_bits((shifted.to_bits().wrapping_add(127)) << 23);
    if x < -87.0 { 0.0 } else { e * power }
}

/// The natural logarithm of a normal positive number; NaN for NaN, infinite for infinity.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    // x = m 2^e with m in [sqrt(1/2), sqrt(2)); Cephes logf.
    let bits = x.to_bits().wrapping_sub(0x3f35_04f3);
    let e = ((bits as i32) >> 23) as f32;
    let m = f32::from_bits((bits & 0x007f_ffff).wrapping_add(0x3f35_04f3)) - 1.0;
    let z = m * m;
    let p = 7.037_683_6e-2f32;
    let p = p.mul_add(m, -1.151_461e-1);
    let p = p.mul_add(m, 1.167_699_9e-1);
    let p = p.mul_add(m, -1.242_014_1e-1);
    let p = p.mul_add(m, 1.424_932_3e-1);
    let p = p.mul_add(m, -1.666_805_8e-1);
    let p = p.mul_add(m, 2.000_071_5e-1);
    let p = p.mul_add(m, -2.499_999_4e-1);
    let p = p.mul_add(m, 3.333_333_1e-1);
    let y = (p * m).mul_add(z, e * -2.121_944_4e-4);
    let y = z.mul_add(-0.5, y);
    let value = e.mul_add(0.693_359_4, m + y);
    if x < f32::INFINITY { value } else { x }
}

/// `tanh x`. Relative error under 4e-7.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    // Cephes tanhf: a polynomial near zero, where 1 - e^(-2x) would cancel.
    let z = x * x;
    let p = -5.704_988_7e-3f32;
    let p = p.mul_add(z, 2.063_908_9e-2);
    let p = p.mul_add(z, -5.373_971_6e-2);
    let p = p.mul_add(z, 1.333_144_2e-1);
    let p = p.mul_add(z, -3.333_328_2e-1);
    let near = (p * z).mul_add(x, x);
    let e = exp(-2.0 * x.abs());
    let far = ((1.0 - e) / (1.0 + e)).copysign(x);
    if x.abs() < 0.625 { near } else { far }
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    let e = exp(-x.abs());
    let upper = 1.0 / (1.0 + e);
    if x < 0.0 { e * upper } else { upper }
}

/// The error function; the two polynomials are N. Juffa's, one rounding off at most.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let (t, s) = (x.abs(), x * x);
    let far = (-1.728_534_7e-5f32).mul_add(t, 3.831_972e-4);
    let u = (-3.883_964_4e-3f32).mul_add(t, 2.425_462_2e-2);
    let far = far.mul_add(s, u);
    let far = far.mul_add(t, -1.067_778_8e-1);
    let far = far.mul_add(t, -6.348_468_7e-1);
    let far = far.mul_add(t, -1.287_175_1e-1);
    let far = (1.0 - exp(far.mul_add(t, -t))).copysign(x);
    let near = -5.967_617e-4f32;
    let near = near.mul_add(s, 4.991_194_2e-3);
    let near = near.mul_add(s, -2.676_813_5e-2);
    let near = near.mul_add(s, 1.128_199_25e-1);
    let near = near.mul_add(s, -3.761_253_4e-1);
    let near = near.mul_add(s, 1.283_791_7e-1);
    let near = near.mul_add(x, x);
    if t > 0.927_734_4 { far } else { near }
}

/// Replaces each `z` by its activation, and writes the derivative there to `slopes`.
///
/// The activation is chosen outside the loop: inside, it would keep the loop from being vectors.
#[inline(always)]
pub fn activate(activation: Activation, values: &mut [f32; LANES], slopes: &mut [f32; LANES]) {
    match activation {
        Activation::Relu => each(values, slopes, relu),
        Activation::Tanh => each(values, slopes, |z| {
            let h = tanh(z);
            (h, (-h).mul_add(h, 1.0))
        }),
        Activation::Sigmoid => each(values, slopes, |z| {
            let h = sigmoid(z);
            (h, h * (1.0 - h))
        }),
        Activation::Gelu => each(values, slopes, gelu),
    }
}

#[inline(always)]
fn each(
    values: &mut [f32; LANES],
    slopes: &mut [f32; LANES],
    activation: impl Fn(f32) -> (f32, f32),
) {
    for lane in 0..LANES {
        (values[lane], slopes[lane]) = activation(values[lane]);
    }
}

#[inline(always)]
fn relu(z: f32) -> (f32, f32) {
    // `z <= 0` is false for NaN, which must not turn into 0: a diverged model has to show.
    (if z <= 0.0 { 0.0 } else { z }, if z > 0.0 { 1.0 } else { 0.0 })
}

#[inline(always)]
fn gelu(z: f32) -> (f32, f32) {
    const FRAC_1_SQRT_2PI: f32 = 0.398_942_3;
    let phi = 0.5f32.mul_add(erf(z * std::f32::consts::FRAC_1_SQRT_2), 0.5);
    (z * phi, (z * FRAC_1_SQRT_2PI).mul_add(exp(-0.5 * z * z), phi))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest relative error of `f` beside `truth` on `points` from `low` to `high`; values
    /// under `floor` are compared absolutely.
    fn worst(f: fn(f32) -> f32, truth: fn(f64) -> f64, (low, high): (f32, f32), floor: f64) -> f64 {
        let points = 200_000;
        (0..=points)
            .map(|i| low + (high - low) * i as f32 / points as f32)
            .map(|x| {
                let exact = truth(f64::from(x));
                (f64::from(f(x)) - exact).abs() / exact.abs().max(floor)
            })
            .fold(0.0, f64::max)
    }

    /// An activation's value and derivative at one place.
    fn at(activation: Activation, z: f32) -> (f32, f32) {
        let (mut values, mut slopes) = ([z; LANES], [0.0; LANES]);
        activate(activation, &mut values, &mut slopes);
        (values[LANES - 1], slopes[LANES - 1])
    }

    #[test]
    fn the_functions_agree_with_float64_to_a_few_roundings() {
        assert!(worst(exp, libm::exp, (-86.9, 80.0), 0.0) < 2e-7);
        assert!(worst(ln, libm::log, (1e-6, 40.0), 1e-3) < 2e-7);
        assert!(worst(tanh, libm::tanh, (-12.0, 12.0), 1e-30) < 4e-7);
        assert!(worst(sigmoid, |x| 1.0 / (1.0 + libm::exp(-x)), (-80.0, 80.0), 1e-30) < 4e-7);
        assert!(worst(erf, libm::erf, (-6.0, 6.0), 1e-30) < 3e-7);
    }

    #[test]
    fn the_derivatives_agree_with_central_differences_in_float64() {
        type Value = fn(f64) -> f64;
        let values: [(Activation, Value); 4] = [
            (Activation::Relu, |z| z.max(0.0)),
            (Activation::Tanh, libm::tanh),
            (Activation::Sigmoid, |z| 1.0 / (1.0 + libm::exp(-z))),
            (Activation::Gelu, |z| z * 0.5 * (1.0 + libm::erf(z / 2f64.sqrt()))),
        ];
        for (activation, value) in values {
            for i in -400..=400 {
                let z = f64::from(i) / 50.0 + 0.001;
                let slope = (value(z + 1e-5) - value(z - 1e-5)) / 2e-5;
                let (h, d) = at(activation, z as f32);
                assert!((f64::from(h) - value(z)).abs() < 1e-6, "{activation:?}({z}) = {h}");
                assert!((f64::from(d) - slope).abs() < 1e-6, "{activation:?}'({z}) = {d}");
            }
        }
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        assert!(exp(f32::NAN).is_nan() && ln(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
        assert!(ln(f32::INFINITY) == f32::INFINITY && exp(f32::NEG_INFINITY) == 0.0);
        for activation in
            [Activation::Relu, Activation::Tanh, Activation::Sigmoid, Activation::Gelu]
        {
            assert!(at(activation, f32::NAN).0.is_nan(), "{activation:?}");
        }
    }

    #[test]
    fn only_what_is_negligible_is_flushed_to_zero() {
        assert_eq!([1e-19, -1e-19, 0.0].map(flush), [0.0; 3]);
        assert_eq!([1e-18, -1e-18, 1.0].map(flush), [1e-18, -1e-18, 1.0]);
        assert!(flush(f32::NAN).is_nan());
    }
}
