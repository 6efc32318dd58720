// Grouped GEMM on the tensor cores, in three TF32 products a multiply-add, with FP32-like accuracy
// (gemm_fp32.cu says what it computes, gemm_mma_core.cuh how).
// registers: at most 168
// needs: sm_80
//
// Counted on the simulated device for one full tile, per 256 of k (forward / weight / input gradient);
// shared and global memory as in gemm_tf32.cu:
//
//   tile     instructions a multiply-add
//   128x128  0.61 / 0.69 / 0.52
//   64x64    0.73 / 0.75 / 0.73
//   32x32    0.85 / 0.78 / 0.86
//   64x16    0.96 / 1.09 / 1.06
//   16x64    1.16 / 1.11 / 1.16
//   16x16    2.47 / 2.13 / 2.19
//
// The 128x128 tile takes up to 168 registers, so one block a multiprocessor: at 128 it spills.
//
// Not measured: no GPU was at hand. A third of TF32's speed at most; on an H200 still twice FP32's.
// Next: split a stage once when it arrives, not once in every warp that reads it.

#include "gemm_mma_core.cuh"

#define KERNEL(NAME, PRODUCT, BLOCKS, ...)                                                                 \
    extern "C" __global__ void __launch_bounds__(Tile<__VA_ARGS__>::THREADS, BLOCKS)                       \
    NAME(const GemmProblem *problems, const GemmTile *tiles)                                               \
    {                                                                                                      \
        gemm<PRODUCT, MmaCore<PRODUCT, Tile<__VA_ARGS__>, true>>(problems, tiles);                        \
    }

#define KERNELS(SUFFIX, ...)                                                                               \
    KERNEL(forward_##SUFFIX, FORWARD, __VA_ARGS__)                                                         \
    KERNEL(weight_gradient_##SUFFIX, WEIGHT_GRADIENT, __VA_ARGS__)                                         \
    KERNEL(input_gradient_##SUFFIX, INPUT_GRADIENT, __VA_ARGS__)

//      tile   blocks;  M    N  DEPTH STAGES WARPS_M WARPS_N SLICES
KERNELS(128x128, 1,   128, 128,  16,   2,     2,      4,      1)
KERNELS(64x64,   4,    64,  64,  16,   4,     2,      2,      1)
KERNELS(32x32,   4,    32,  32,   8,   4,     1,      1,      4)
KERNELS(64x16,   4,    64,  16,   8,   3,     1,      1,      4)
KERNELS(16x64,   4,    16,  64,   8,   3,     1,      1,      4)
KERNELS(16x16,   4,    16,  16,   8,   4,     1,      1,      8)
