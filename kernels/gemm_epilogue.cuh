// What becomes of a product's sums: four neighbouring columns of a row at a time.
//
//   forward         z = sum + bias;  c = activation(z) * dropout
//   weight gradient c = sum, or a step of SGD of c with the sum as its gradient (rule.cuh)
//   input gradient  c = sum * activation'(z) * dropout
//
// Columns from n to the next multiple of 4 are written as zero, in c and in z.
#pragma once
#include "activation.cuh"
#include "gemm_problem.cuh"

enum Product { FORWARD, WEIGHT_GRADIENT, INPUT_GRADIENT };

// A step of SGD of four neighbouring weights. A thread reads several before it writes the first, so that one
// wait serves them all.
struct Weights {
    float w[4], v[4];

    __device__ void read(const float *weights, const float *velocity)
    {
        load(w, weights);
        if (velocity) load(v, velocity);
    }

    // Of the four, `columns` exist. What lies beyond is zero, and must remain so.
    __device__ void step(const Rule &rule, float4 gradient, unsigned int columns)
    {
        const float g[4] = {gradient.x, gradient.y, gradient.z, gradient.w};
#pragma unroll
        for (unsigned int i = 0; i < 4; i++) step_value(rule, w[i], v[i], i < columns ? g[i] : 0.0f);
    }

    __device__ void write(float *weights, float *velocity) const
    {
        store(weights, w);
        if (velocity) store(velocity, v);
    }

    __device__ static void load(float (&values)[4], const float *from)
    {
        const float4 four = *(const float4 *)from;
        values[0] = four.x, values[1] = four.y, values[2] = four.z, values[3] = four.w;
    }

    // By hand: the compiler makes four stores of it, each of which touches every sector.
    __device__ static void store(float *to, const float (&values)[4])
    {
        asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)), "f"(values[0]),
                     "f"(values[1]), "f"(values[2]), "f"(values[3])
                     : "memory");
    }
};

template <Product PRODUCT>
__device__ inline void finish(const GemmProblem &problem, unsigned int row, unsigned int column, float4 sums)
{
    float four[4] = {sums.x, sums.y, sums.z, sums.w};
    const size_t at = (size_t)row * problem.ldc + column;
    if (PRODUCT == FORWARD) {
        if (problem.bias) {
#pragma unroll
            for (unsigned int i = 0; i < 4; i++)
                if (column + i < problem.n) four[i] += problem.bias[column + i];
        }
#pragma unroll
        for (unsigned int i = 0; i < 4; i++)
            if (column + i >= problem.n) four[i] = 0.0f;
        if (problem.z) *(float4 *)(problem.z + at) = make_float4(four[0], four[1], four[2], four[3]);
#pragma unroll
        for (unsigned int i = 0; i < 4; i++) four[i] = activate(problem.activation, four[i]);
    }
    if (PRODUCT == INPUT_GRADIENT && problem.z) {
        const float4 z = *(const float4 *)(problem.z + at);
        four[0] *= derivative(problem.activation, z.x);
        four[1] *= derivative(problem.activation, z.y);
        four[2] *= derivative(problem.activation, z.z);
        four[3] *= derivative(problem.activation, z.w);
    }
    if (PRODUCT != WEIGHT_GRADIENT && problem.dropout && problem.step && problem.step->training &&
        problem.dropout->probability > 0.0f)
        drop(*problem.dropout, problem.step->before + row, column, four);
    // Again, for sigmoid(0) is not 0, and what lies beyond n in an operand may be anything.
#pragma unroll
    for (unsigned int i = 0; i < 4; i++)
        if (column + i >= problem.n) four[i] = 0.0f;
    *(float4 *)(problem.c + at) = make_float4(four[0], four[1], four[2], four[3]);
}
