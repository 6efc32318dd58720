// From a tile's sums in shared memory to C: added over the slices, then what follows a product
// (gemm_epilogue.cuh). Threads take them in whole rows, four columns at a time: a quad.
#pragma once
#include "gemm_epilogue.cuh"

// What of C one row of a tile's warps has summed: WARP_M x N elements from `top`, `left` on, as far as C,
// m x n, has them.
struct Strip {
    unsigned int top, left, m, n;
};

template <class Core> struct Quad {
    using T = typename Core::Tile;
    static constexpr unsigned int COUNT = T::WARP_M * T::N / 4;  // of a strip

    unsigned int number, row, column;  // the latter two in the strip

    __device__ explicit Quad(unsigned int number)
        : number(number), row(number / (T::N / 4)), column(number % (T::N / 4) * 4)
    {
    }

    __device__ bool exists(const Strip &strip) const
    {
        return number < COUNT && strip.top + row < strip.m && strip.left + column < strip.n;
    }

    // The slices' sums, added in their order.
    __device__ float4 sum(const float *memory) const
    {
        float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll
        for (int slice = 0; slice < T::SLICES; slice++) {
            const float *line = memory + (slice * T::WARP_M + row) * Core::SUMS_STRIDE;
            const float4 part = *(const float4 *)(line + column);
            sum.x += part.x;
            sum.y += part.y;
            sum.z += part.z;
            sum.w += part.w;
        }
        return sum;
    }
};

// A step of SGD of the weights of a strip, whose gradient the sums are.
template <class Core>
__device__ inline void update(const GemmProblem &problem, const Strip &strip, const float *memory)
{
    using T = typename Core::Tile;
    constexpr unsigned int AHEAD = Quad<Core>::COUNT > T::THREADS ? 2 : 1;  // read together, in eight registers each
    const Rule rule = *problem.rule;
    const unsigned int stride = problem.ldc;
    const size_t origin = (size_t)strip.top * stride + strip.left;
    float *const weights = problem.c + origin, *const velocity = problem.velocity ? problem.velocity + origin : nullptr;
#pragma unroll 1
    for (unsigned int first = threadIdx.x; first < Quad<Core>::COUNT; first += AHEAD * T::THREADS) {
        Weights four[AHEAD] = {};
#pragma unroll
        for (unsigned int i = 0; i < AHEAD; i++) {
            const Quad<Core> quad(first + i * T::THREADS);
            const unsigned int at = quad.row * stride + quad.column;
            if (quad.exists(strip)) four[i].read(weights + at, velocity ? velocity + at : nullptr);
        }
#pragma unroll
        for (unsigned int i = 0; i < AHEAD; i++) {
            const Quad<Core> quad(first + i * T::THREADS);
            const unsigned int at = quad.row * stride + quad.column;
            if (!quad.exists(strip)) continue;
            four[i].step(rule, quad.sum(memory), strip.n - strip.left - quad.column);
            four[i].write(weights + at, velocity ? velocity + at : nullptr);
        }
    }
}

// What follows a product, for a strip.
template <Product PRODUCT, class Core>
__device__ inline void finish_strip(const GemmProblem &problem, const Strip &strip, const float *memory)
{
    if (PRODUCT == WEIGHT_GRADIENT && problem.rule) {
        update<Core>(problem, strip, memory);
        return;
    }
#pragma unroll 1
    for (unsigned int number = threadIdx.x; number < Quad<Core>::COUNT; number += Core::Tile::THREADS) {
        const Quad<Core> quad(number);
        if (quad.exists(strip))
            finish<PRODUCT>(problem, strip.top + quad.row, strip.left + quad.column, quad.sum(memory));
    }
}
