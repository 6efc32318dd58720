// The multiply-adds of a stage on the ordinary cores.
//
// A warp's lanes form a grid LANES_M x LANES_N; a thread sums THREAD_M x THREAD_N elements of C. How its
// rows (and columns) are dealt out depends on how the operand lies in shared memory, so that the lanes of
// a read always fall into different banks:
//
//   [k][x]  groups of four neighbours, LANES * 4 apart, read as 16 bytes of one k: 4 values a read
//   [x][k]  LANES apart, each read as 16 bytes of four k: 4 values a read too, but four k of all the
//           thread's rows wait in registers. Global memory is copied as it lies.
//
// An operand that lies along k in global memory is copied as it lies for the small tiles (a TRANSPOSE of
// it would cost a copy for every 8 to 16 multiply-adds), and transposed for the large one, whose sums
// leave no registers for four k.
#pragma once
#include "gemm_kernel.cuh"

template <Product PRODUCT, class Tile_, int LANES_M, Movement FROM_ALONG> struct Fp32Core {
    using Tile = Tile_;
    static constexpr Movement A_MOVEMENT = PRODUCT == WEIGHT_GRADIENT ? ACROSS : FROM_ALONG;
    static constexpr Movement B_MOVEMENT = PRODUCT == INPUT_GRADIENT ? FROM_ALONG : ACROSS;
    // Two lines of 16 fill the 32 banks, padding would part them; longer lines may be padded, and are
    // where a transposing copy writes across them.
    template <Movement MOVEMENT, int X> __device__ static constexpr int stride()
    {
        return MOVEMENT == ALONG ? Tile::DEPTH + 4 : MOVEMENT == ACROSS && X == 16 ? X : X + 4;
    }
    static constexpr int A_STRIDE = stride<A_MOVEMENT, Tile::M>(), B_STRIDE = stride<B_MOVEMENT, Tile::N>();
    static constexpr int LANES_N = 32 / LANES_M;
    static constexpr int THREAD_M = Tile::WARP_M / LANES_M, THREAD_N = Tile::WARP_N / LANES_N;
    // Neighbouring rows, or columns, of a thread.
    static constexpr int GROUP_M = A_MOVEMENT == ALONG ? 1 : THREAD_M < 4 ? THREAD_M : 4;
    static constexpr int GROUP_N = B_MOVEMENT == ALONG ? 1 : THREAD_N < 4 ? THREAD_N : 4;
    static_assert((GROUP_M != 1 || A_MOVEMENT == ALONG) && (GROUP_N == 4 || B_MOVEMENT == ALONG), "read, put");
    // The lanes of `put` fall into different banks: as single columns, LANES_N of them a row; else as
    // groups of four, and then rows that neighbouring lanes write start 16 banks apart.
    static constexpr int SUMS_STRIDE = GROUP_N == 1                        ? Tile::N + LANES_N
                                       : Tile::N % 32 == 0 || GROUP_M > 1 ? Tile::N + 16 / GROUP_M
                                                                           : Tile::N;
    static constexpr int STEP = A_MOVEMENT == ALONG || B_MOVEMENT == ALONG ? 4 : 1;

    float sums[THREAD_M][THREAD_N];
    // The thread's first place in a stage's part of A and of B: all others are constants away from it.
    unsigned int in_a, in_b;

    __device__ Fp32Core(unsigned int warp_row, unsigned int warp_column, unsigned int lane)
        : in_a((warp_row + first_row(lane)) * (A_MOVEMENT == ALONG ? A_STRIDE : 1)),
          in_b((warp_column + first_column(lane)) * (B_MOVEMENT == ALONG ? B_STRIDE : 1))
    {
#pragma unroll
        for (int i = 0; i < THREAD_M; i++)
#pragma unroll
            for (int j = 0; j < THREAD_N; j++) sums[i][j] = 0.0f;
    }

    // Of a thread, in the warp's part of the tile.
    __device__ static unsigned int first_row(unsigned int lane)
    {
        return lane / LANES_N * GROUP_M;
    }
    __device__ static unsigned int first_column(unsigned int lane)
    {
        return lane % LANES_N * GROUP_N;
    }

    // Where element `i` of a thread lies beside its first.
    template <int GROUP, int LANES> __device__ static constexpr int place(int i)
    {
        return i / GROUP * GROUP * LANES + i % GROUP;
    }

    // COUNT values of each of STEP k from `k` on.
    template <Movement MOVEMENT, int COUNT, int GROUP, int LANES, int STRIDE>
    __device__ static void read(float (&values)[STEP][COUNT], const float *from, int k)
    {
        if constexpr (MOVEMENT == ALONG) {
#pragma unroll
            for (int i = 0; i < COUNT; i++) {
                const float4 four = *(const float4 *)(from + i * LANES * STRIDE + k);
                values[0][i] = four.x, values[1 % STEP][i] = four.y;
                values[2 % STEP][i] = four.z, values[3 % STEP][i] = four.w;
            }
        } else {
#pragma unroll
            for (int step = 0; step < STEP; step++) {
#pragma unroll
                for (int i = 0; i < COUNT; i += GROUP) {
                    const float *group = from + (k + step) * STRIDE + i * LANES;
                    float *to = &values[step][i];
                    if constexpr (GROUP == 4) {
                        const float4 four = *(const float4 *)group;
                        to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
                    } else {
                        const float2 two = *(const float2 *)group;
                        to[0] = two.x, to[1] = two.y;
                    }
                }
            }
        }
    }

    __device__ void multiply(const float *a, const float *b)
    {
        a += in_a;
        b += in_b;
#pragma unroll
        for (int k = 0; k < Tile::DEPTH; k += STEP) {
            float x[STEP][THREAD_M], y[STEP][THREAD_N];
            read<A_MOVEMENT, THREAD_M, GROUP_M, LANES_M, A_STRIDE>(x, a, k);
            read<B_MOVEMENT, THREAD_N, GROUP_N, LANES_N, B_STRIDE>(y, b, k);
#pragma unroll
            for (int step = 0; step < STEP; step++)
#pragma unroll
                for (int i = 0; i < THREAD_M; i++)
#pragma unroll
                    for (int j = 0; j < THREAD_N; j++) sums[i][j] = fmaf(x[step][i], y[step][j], sums[i][j]);
        }
    }

    __device__ void put(float *to) const
    {
        const unsigned int lane = threadIdx.x % 32, row = first_row(lane), column = first_column(lane);
#pragma unroll
        for (int i = 0; i < THREAD_M; i++) {
            float *line = to + (row + place<GROUP_M, LANES_M>(i)) * SUMS_STRIDE + column;
#pragma unroll
            for (int j = 0; j < THREAD_N; j += GROUP_N) {
                float *group = line + place<GROUP_N, LANES_N>(j);
                if constexpr (GROUP_N == 4)
                    *(float4 *)group = make_float4(sums[i][j], sums[i][j + 1], sums[i][j + 2], sums[i][j + 3]);
                else
                    *group = sums[i][j];
            }
        }
    }
};
