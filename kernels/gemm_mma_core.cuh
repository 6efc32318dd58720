// The multiply-adds of a stage on the tensor cores: mma.sync.m16n8k8 on TF32, sums in FP32.
//
// TF32 keeps 10 of FP32's 23 bits of a significand. With SPLIT every value becomes big + small, each TF32,
// and three products are summed: small * big + big * small + big * big. What is left out is small * small,
// 2^-22 of a product, and what the tensor cores leave out of the small ones, 2^-21: FP32-like accuracy at a
// third of the speed ("3xTF32"). The instruction adds with truncation, so an error of up to 2^-24 of the sum
// remains for each step of eight k.
//
// Both operands lie in shared memory as in global memory, and no read meets a bank conflict (lane = 4 g + t):
//
//   [x][k]  DEPTH + 4 apart: ldmatrix reads eight rows of 16 bytes, which start in eight different
//           groups of four banks; one instruction is a 16 x 8 fragment
//   [k][x]  X + 8 apart, which is 8 or 24 modulo 32: lane (g, t) reads bank 8 t + g
//
// Needs sm_80.
#pragma once
#include "gemm_kernel.cuh"

// Stages of the large tile, 20 KiB each: three where two blocks of them fit a multiprocessor. Data-centre GPUs
// have 164 KiB or more for them; the others, sm_86, sm_89 and sm_120, 100.
#define LARGE_STAGES (__CUDA_ARCH__ == 860 || __CUDA_ARCH__ == 890 || __CUDA_ARCH__ >= 1200 ? 2 : 3)

// The four 8 x 4 quarters of two neighbouring fragments; lane l gives the place of row l % 8 of quarter l / 8,
// in bytes of shared memory.
__device__ inline void load_matrix(unsigned int (&quarters)[4], unsigned int from)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(quarters[0]), "=r"(quarters[1]), "=r"(quarters[2]), "=r"(quarters[3])
                 : "r"(from)
                 : "memory");
}

__device__ inline unsigned int to_tf32(float x)
{
    unsigned int rounded;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(x));
    return rounded;
}

__device__ inline void multiply_add(float (&c)[4], const unsigned int (&a)[4], const unsigned int (&b)[2])
{
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// COUNT registers of an operand as TF32, and what TF32 left of them.
template <int COUNT, bool SPLIT> struct Rounded {
    unsigned int big[COUNT], small[SPLIT ? COUNT : 1];

    __device__ void set(int i, unsigned int bits)
    {
        const float x = __uint_as_float(bits);
        big[i] = to_tf32(x);
        // The tensor cores leave out the lower 13 bits: to round here too would cost as much again.
        if constexpr (SPLIT) small[i] = __float_as_uint(x - __uint_as_float(big[i]));
    }
};

// Rows 16 i to 16 i + 16 of a warp's part of a stage, k to k + 8, where `from` is the lane's first place in it:
// (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4).
template <Movement MOVEMENT, int STRIDE>
__device__ inline void read_rows(unsigned int (&bits)[4], const float *from, int i, int k)
{
    if constexpr (MOVEMENT == ALONG) {
        load_matrix(bits, (unsigned int)__cvta_generic_to_shared(from) + 4 * (16 * i * STRIDE + k));
    } else {
#pragma unroll
        for (int r = 0; r < 4; r++) bits[r] = __float_as_uint(from[(k + r / 2 * 4) * STRIDE + 16 * i + r % 2 * 8]);
    }
}

// That place, of rows from `row` on.
template <Movement MOVEMENT, int STRIDE>
__device__ inline unsigned int first_row(unsigned int row, unsigned int lane)
{
    return MOVEMENT == ALONG ? (row + lane % 16) * STRIDE + lane / 16 * 4 : lane % 4 * STRIDE + row + lane / 4;
}

template <Product PRODUCT, class Tile_, bool SPLIT> struct MmaCore {
    using Tile = Tile_;
    static constexpr Movement A_MOVEMENT = PRODUCT == WEIGHT_GRADIENT ? ACROSS : ALONG;
    static constexpr Movement B_MOVEMENT = PRODUCT == INPUT_GRADIENT ? ALONG : ACROSS;
    static constexpr int A_STRIDE = A_MOVEMENT == ALONG ? Tile::DEPTH + 4 : Tile::M + 8;
    static constexpr int B_STRIDE = B_MOVEMENT == ALONG ? Tile::DEPTH + 4 : Tile::N + 8;
    static constexpr int SUMS_STRIDE = Tile::N + 8;  // four rows of a half warp's `put` in different banks
    static constexpr int COUNT_M = Tile::WARP_M / 16, COUNT_N = Tile::WARP_N / 8;
    static_assert(COUNT_N % 2 == 0, "columns are read in pairs of fragments");

    float sums[COUNT_M][COUNT_N][4];
    // The lane's first place in a stage's part of A and of B: all others are constants away from it.
    unsigned int in_a, in_b;

    __device__ MmaCore(unsigned int warp_row, unsigned int warp_column, unsigned int lane)
        : in_a(first_row<A_MOVEMENT, A_STRIDE>(warp_row, lane)),
          in_b(B_MOVEMENT == ALONG ? (warp_column + lane / 16 * 8 + lane % 8) * B_STRIDE + lane / 8 % 2 * 4
                                   : lane % 4 * B_STRIDE + warp_column + lane / 4)
    {
#pragma unroll
        for (int i = 0; i < COUNT_M; i++)
#pragma unroll
            for (int j = 0; j < COUNT_N; j++)
#pragma unroll
                for (int r = 0; r < 4; r++) sums[i][j][r] = 0.0f;
    }

    __device__ static Rounded<4, SPLIT> read_a(const float *a, int i, int k)
    {
        unsigned int bits[4];
        read_rows<A_MOVEMENT, A_STRIDE>(bits, a, i, k);
        Rounded<4, SPLIT> rounded;
#pragma unroll
        for (int r = 0; r < 4; r++) rounded.set(r, bits[r]);
        return rounded;
    }

    // Columns 16 j to 16 j + 16 of the warp's B: (t, g), (t + 4, g) of each of two fragments.
    __device__ static void read_b(Rounded<2, SPLIT> (&pair)[2], const float *b, int j, int k)
    {
        unsigned int bits[4];
        if constexpr (B_MOVEMENT == ALONG) {
            load_matrix(bits, (unsigned int)__cvta_generic_to_shared(b) + 4 * (16 * j * B_STRIDE + k));
        } else {
#pragma unroll
            for (int r = 0; r < 4; r++) bits[r] = __float_as_uint(b[(k + r % 2 * 4) * B_STRIDE + 16 * j + r / 2 * 8]);
        }
#pragma unroll
        for (int r = 0; r < 4; r++) pair[r / 2].set(r % 2, bits[r]);
    }

    __device__ void multiply(const float *a, const float *b)
    {
        a += in_a;
        b += in_b;
#pragma unroll
        for (int k = 0; k < Tile::DEPTH; k += 8) {
            Rounded<2, SPLIT> y[COUNT_N / 2][2];
#pragma unroll
            for (int j = 0; j < COUNT_N / 2; j++) read_b(y[j], b, j, k);
#pragma unroll
            for (int i = 0; i < COUNT_M; i++) {
                const Rounded<4, SPLIT> x = read_a(a, i, k);
#pragma unroll
                for (int j = 0; j < COUNT_N; j++) {
                    const Rounded<2, SPLIT> &column = y[j / 2][j % 2];
                    if constexpr (SPLIT) {
                        multiply_add(sums[i][j], x.small, column.big);
                        multiply_add(sums[i][j], x.big, column.small);
                    }
                    multiply_add(sums[i][j], x.big, column.big);
                }
            }
        }
    }

    __device__ void put(float *to) const
    {
        const unsigned int lane = threadIdx.x % 32;
        to += lane / 4 * SUMS_STRIDE + lane % 4 * 2;
#pragma unroll
        for (int i = 0; i < COUNT_M; i++)
#pragma unroll
            for (int j = 0; j < COUNT_N; j++)
#pragma unroll
                for (int r = 0; r < 4; r += 2)
                    *(float2 *)(to + (16 * i + 4 * r) * SUMS_STRIDE + 8 * j) =
                        make_float2(sums[i][j][r], sums[i][j][r + 1]);
    }
};
