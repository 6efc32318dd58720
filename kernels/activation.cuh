// Activations and their derivatives, after src/engine/cpu/elementwise.rs: the same polynomials, so that
// both engines agree to a few roundings (division and fused multiply-adds are IEEE here as there).
#pragma once

enum Activation { NO_ACTIVATION = 0, RELU = 1, TANH = 2, SIGMOID = 3, GELU = 4 };

// e^x for x <= 88; zero below -87, NaN for NaN. Cephes expf.
__device__ inline float exact_exp(float x)
{
    const float clamped = x < -87.0f ? -87.0f : x;  // not fmaxf: a NaN has to stay one
    const float shifted = fmaf(clamped, 1.44269504f, 12582912.0f);
    const float n = shifted - 12582912.0f;
    const float r = fmaf(n, 2.1219444e-4f, fmaf(n, -0.6933594f, clamped));
    float p = fmaf(1.9875691e-4f, r, 1.3981999e-3f);
    p = fmaf(p, r, 8.333452e-3f);
    p = fmaf(p, r, 4.1665796e-2f);
    p = fmaf(p, r, 1.6666665e-1f);
    p = fmaf(p, r, 0.5f);
    const float e = fmaf(p, r * r, r) + 1.0f;
    const float power = __uint_as_float((__float_as_uint(shifted) + 127u) << 23);
    return x < -87.0f ? 0.0f : e * power;
}

__device__ inline float exact_tanh(float x)
{
    const float z = x * x;  // Cephes tanhf: a polynomial near zero, where 1 - e^(-2x) would cancel
    float p = fmaf(-5.7049887e-3f, z, 2.0639089e-2f);
    p = fmaf(p, z, -5.3739716e-2f);
    p = fmaf(p, z, 1.3331442e-1f);
    p = fmaf(p, z, -3.3333282e-1f);
    const float near = fmaf(p * z, x, x);
    const float e = exact_exp(-2.0f * fabsf(x));
    const float far = copysignf((1.0f - e) / (1.0f + e), x);
    return fabsf(x) < 0.625f ? near : far;
}

__device__ inline float exact_sigmoid(float x)
{
    const float e = exact_exp(-fabsf(x));
    const float upper = 1.0f / (1.0f + e);
    return x < 0.0f ? e * upper : upper;
}

// N. Juffa's two polynomials.
__device__ inline float exact_erf(float x)
{
    const float t = fabsf(x), s = x * x;
    float far = fmaf(-1.7285347e-5f, t, 3.831972e-4f);
    far = fmaf(far, s, fmaf(-3.8839644e-3f, t, 2.4254622e-2f));
    far = fmaf(far, t, -1.0677788e-1f);
    far = fmaf(far, t, -6.3484687e-1f);
    far = fmaf(far, t, -1.2871751e-1f);
    far = copysignf(1.0f - exact_exp(fmaf(far, t, -t)), x);
    float near = fmaf(-5.967617e-4f, s, 4.9911942e-3f);
    near = fmaf(near, s, -2.6768135e-2f);
    near = fmaf(near, s, 1.1281992e-1f);
    near = fmaf(near, s, -3.7612534e-1f);
    near = fmaf(near, s, 1.2837917e-1f);
    near = fmaf(near, x, x);
    return t > 0.9277344f ? far : near;
}

// The share of a normal variable's values below z.
__device__ inline float normal_below(float z)
{
    return fmaf(0.5f, exact_erf(z * 0.70710678f), 0.5f);
}

__device__ inline float activate(unsigned int activation, float z)
{
    switch (activation) {
    case RELU: return z <= 0.0f ? 0.0f : z;  // false for NaN, which must show
    case TANH: return exact_tanh(z);
    case SIGMOID: return exact_sigmoid(z);
    case GELU: return z * normal_below(z);
    default: return z;
    }
}

__device__ inline float derivative(unsigned int activation, float z)
{
    switch (activation) {
    case RELU: return z > 0.0f ? 1.0f : 0.0f;
    case TANH: {
        const float h = exact_tanh(z);
        return fmaf(-h, h, 1.0f);
    }
    case SIGMOID: {
        const float h = exact_sigmoid(z);
        return h * (1.0f - h);
    }
    case GELU: return fmaf(z * 0.3989423f, exact_exp(-0.5f * z * z), normal_below(z));
    default: return 1.0f;
    }
}
