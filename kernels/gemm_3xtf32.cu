// Grouped GEMM on the tensor cores, in TF32 three times over, with FP32-like accuracy.
// registers: at most 168
// needs: sm_80

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
