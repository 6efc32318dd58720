// Grouped GEMM on the tensor cores, in three TF32 products a multiply-add, with FP32-like accuracy
// (gemm_fp32.cu says what it computes, gemm_mma_core.cuh how).
// registers: at most 240
// needs: sm_80
//
// Counted in SASS of sm_90, in the loop of a stage (forward / weight / input gradient); shared and global
// memory as in gemm_tf32.cu:
//
//   tile     instructions a matrix one
//   128x128   3.2 /  3.3 /  3.1
//   64x64     5.8 /  5.8 /  5.6
//   32x32     6.8 /  6.5 /  6.6
//   64x16     7.8 /  8.0 /  7.7
//   16x64     7.9 /  8.0 /  7.7
//   16x16    15.8 / 13.8 / 15.0
//
// Not measured: no GPU was at hand. Should mma.sync reach 60 % of an H200's peak, an instruction takes a
// scheduler some 6 cycles, and the large tile waits for the tensor cores: a third of TF32's speed, still more
// than FP32's.
// Next: split a stage once when it arrives, not once in every warp that reads it.

#include "gemm_mma_core.cuh"
#include "gemm_kernel.cuh"

#define KERNEL(NAME, PRODUCT, BLOCKS, ...)                                                                 \
    GEMM_KERNEL(NAME, PRODUCT, BLOCKS, MmaCore<PRODUCT, Tile<__VA_ARGS__>, true>)

#define KERNELS(SUFFIX, ...)                                                                               \
    KERNEL(forward_##SUFFIX, FORWARD, __VA_ARGS__)                                                         \
    KERNEL(weight_gradient_##SUFFIX, WEIGHT_GRADIENT, __VA_ARGS__)                                         \
    KERNEL(input_gradient_##SUFFIX, INPUT_GRADIENT, __VA_ARGS__)

//      tile   blocks;  M    N  DEPTH STAGES WARPS_M WARPS_N SLICES
KERNELS(128x128, 2,   128, 128,  16, LARGE_STAGES, 2, 2,   1)
KERNELS(64x64,   4,    64,  64,  16,   4,     2,      2,      1)
KERNELS(32x32,   4,    32,  32,   8,   4,     1,      1,      4)
KERNELS(64x16,   4,    64,  16,   8,   3,     1,      1,      4)
KERNELS(16x64,   4,    16,  64,   8,   3,     1,      1,      4)
KERNELS(16x16,   4,    16,  16,   8,   4,     1,      1,      8)
