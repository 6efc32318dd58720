// What becomes of a product's sums: four neighbouring columns of a row at a time.
//
//   forward         z = sum + bias;  c = activation(z) * dropout
//   weight gradient c = sum
//   input gradient  c = sum * activation'(z) * dropout
//
// Columns from n to the next multiple of 4 are written as zero, in c and in z.
#pragma once
#include "activation.cuh"
#include "gemm_problem.cuh"

enum Product { FORWARD, WEIGHT_GRADIENT, INPUT_GRADIENT };

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
