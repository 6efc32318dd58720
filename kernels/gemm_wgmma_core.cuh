// The multiply-adds of a stage on the tensor cores of sm_90: wgmma.m64n256k8 on TF32, sums in FP32.
//
// mma.sync has every warp fetch both fragments of every product through registers; wgmma reads one operand where
// it lies in shared memory, once for the four warps of a warpgroup, and goes on by itself while they do other
// work. Of that operand all k of a line must lie side by side, so it is the problem's A, which a forward product
// and an input gradient have so in global memory, and a weight gradient's is turned over as it is copied. The
// other, B, comes through registers, however it lies. So what a warpgroup sums is a part of C transposed: its 64
// rows are columns of C, its 256 columns the tile's rows.
//
// B is rounded to TF32; of A the tensor cores leave out the lower 13 bits: an error of up to 2^-10 of a product
// where rounding has 2^-11.
//
// One group of multiply-adds is always under way while the next is prepared: at most one is waited for. A stage
// may be written again once all have waited for the group that read it and met at a barrier since, which is two
// steps later; copies are therefore two stages ahead, of four.
//
// Needs sm_90a.
#pragma once
#include "gemm_mma_core.cuh"

// Adds 64 x 8 (the warp's 16 rows of it in registers) times 8 x 256 (in shared memory) to sums.
__device__ inline void multiply_add_async(float (&c)[32][4], const unsigned int (&a)[4], unsigned long long b)
{
#define FOUR(i) "+f"(c[i][0]), "+f"(c[i][1]), "+f"(c[i][2]), "+f"(c[i][3])
    asm volatile("wgmma.mma_async.sync.aligned.m64n256k8.f32.tf32.tf32 "
                 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
                 "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
                 "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
                 "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
                 "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
                 "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
                 "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, "
                 "{%128, %129, %130, %131}, %132, 1, 1, 1;"
                 : FOUR(0), FOUR(1), FOUR(2), FOUR(3), FOUR(4), FOUR(5), FOUR(6), FOUR(7), FOUR(8), FOUR(9), FOUR(10),
                   FOUR(11), FOUR(12), FOUR(13), FOUR(14), FOUR(15), FOUR(16), FOUR(17), FOUR(18), FOUR(19), FOUR(20),
                   FOUR(21), FOUR(22), FOUR(23), FOUR(24), FOUR(25), FOUR(26), FOUR(27), FOUR(28), FOUR(29), FOUR(30),
                   FOUR(31)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
#undef FOUR
}

// Waits until at most so many groups of multiply-adds are under way.
template <int GROUPS> __device__ inline void wait_for_products()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(GROUPS) : "memory");
}

template <Product PRODUCT, class Tile_> struct WgmmaCore {
    using Tile = Tile_;
    static constexpr Movement A_MOVEMENT = PRODUCT == WEIGHT_GRADIENT ? TURN : ALONG;
    static constexpr Movement B_MOVEMENT = PRODUCT == INPUT_GRADIENT ? ALONG : ACROSS;
    static constexpr int A_STRIDE = Tile::DEPTH;
    static constexpr int B_STRIDE = B_MOVEMENT == ALONG ? Tile::DEPTH + 4 : Tile::N + 8;
    static constexpr int SUMS_STRIDE = Tile::N + 4;  // lane (g, t) writes to bank 8 t + g
    static_assert(Tile::M == 256 && Tile::WARP_M == 256 && Tile::WARP_N == 16 && Tile::WARPS_N % 4 == 0,
                  "a warpgroup has 64 columns of C, all rows of the tile");
    static_assert(Tile::DEPTH == 32, "a line of A is 128 bytes, which are swizzled");

    // The lane's part of a stage of B.
    using Fragments = unsigned int[Tile::DEPTH / 8][4];

    float sums[32][4];
    unsigned int in_b;  // the lane's first place in a stage's part of B

    __device__ WgmmaCore(unsigned int, unsigned int warp_column, unsigned int lane)
        : in_b(first_row<B_MOVEMENT, B_STRIDE>(warp_column, lane))
    {
#pragma unroll
        for (int j = 0; j < 32; j++)
#pragma unroll
            for (int r = 0; r < 4; r++) sums[j][r] = 0.0f;
    }

    __device__ void read(Fragments &fragments, const float *b) const
    {
#pragma unroll
        for (int k = 0; k < Tile::DEPTH / 8; k++) {
            read_rows<B_MOVEMENT, B_STRIDE>(fragments[k], b + in_b, 0, 8 * k);
#pragma unroll
            for (int r = 0; r < 4; r++) fragments[k][r] = to_tf32(__uint_as_float(fragments[k][r]));
        }
    }

    // Starts the multiply-adds of a stage, as one group.
    __device__ void multiply(const Fragments &fragments, const float *a)
    {
        // Where A lies, in units of 16 bytes; 1024 bytes from eight lines to the next; the swizzle of 128 bytes.
        // (The bits from 16 on count for other layouts.)
        const unsigned long long place = (unsigned int)__cvta_generic_to_shared(a) / 16;
        const unsigned long long lines = place | 1ull << 16 | 64ull << 32 | 1ull << 62;
        asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
        for (int k = 0; k < Tile::DEPTH / 8; k++) multiply_add_async(sums, fragments[k], lines + 2 * k);
        asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    }

    __device__ void put(float *to) const
    {
        const unsigned int lane = threadIdx.x % 32;
        to += lane % 4 * 2 * SUMS_STRIDE + lane / 4;
#pragma unroll
        for (int j = 0; j < 32; j++)
#pragma unroll
            for (int r = 0; r < 4; r++) to[(8 * j + r % 2) * SUMS_STRIDE + r / 2 * 8] = sums[j][r];
    }
};

// Adds all pieces of k into the core's sums.
template <Product PRODUCT, class T, class A, class B>
__device__ inline void sum_pieces(WgmmaCore<PRODUCT, T> &core, A &a, B &b, float *stages, unsigned int, unsigned int k)
{
    using Core = WgmmaCore<PRODUCT, T>;
    constexpr int STAGE = A::FLOATS + B::FLOATS;
    static_assert(T::STAGES == 4 && T::SLICES == 1 && STAGE % 256 == 0, "every stage begins at a multiple of 1024 bytes");
    auto fetch = [&](unsigned int stage) {
        a.fetch(stages + stage * STAGE);
        b.fetch(stages + stage * STAGE + A::FLOATS);
        asm volatile("cp.async.commit_group;" ::: "memory");
    };
    unsigned int stage = 0;
    auto step = [&](typename Core::Fragments &fragments) {
        asm volatile("cp.async.wait_group 1;" ::: "memory");
        // What was copied is read by the tensor cores' own path to memory, the asynchronous proxy.
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
        __syncthreads();
        const float *const here = stages + stage * STAGE;
        core.read(fragments, here + A::FLOATS);
        core.multiply(fragments, here);
        fetch(stage ^ 2);
        wait_for_products<1>();
        stage = (stage + 1) % 4;
    };
    fetch(0);
    fetch(1);
    // Fragments of two stages, since those of the one are read while the other's are multiplied.
    typename Core::Fragments even, odd;
    for (unsigned int left = (k + T::DEPTH - 1) / T::DEPTH; left > 0; left--) {
        step(even);
        if (--left == 0) break;
        step(odd);
    }
    wait_for_products<0>();
    asm volatile("cp.async.wait_group 0;" ::: "memory");
}
