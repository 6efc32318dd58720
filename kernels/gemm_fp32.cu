// Grouped GEMM on the ordinary cores, in FP32.
// registers: at most 128

#include "gemm_fp32_core.cuh"

#define KERNEL(NAME, PRODUCT, LANES_M, MOVEMENT, BLOCKS, ...)                                              \
    extern "C" __global__ void __launch_bounds__(Tile<__VA_ARGS__>::THREADS, BLOCKS)                       \
    NAME(const GemmProblem *problems, const GemmTile *tiles)                                               \
    {                                                                                                      \
        gemm<PRODUCT, Fp32Core<PRODUCT, Tile<__VA_ARGS__>, LANES_M, MOVEMENT>>(problems, tiles);           \
    }

#define KERNELS(SUFFIX, ...)                                                                               \
    KERNEL(forward_##SUFFIX, FORWARD, __VA_ARGS__)                                                         \
    KERNEL(weight_gradient_##SUFFIX, WEIGHT_GRADIENT, __VA_ARGS__)                                         \
    KERNEL(input_gradient_##SUFFIX, INPUT_GRADIENT, __VA_ARGS__)

//      tile     LANES_M, FROM_ALONG, blocks;  M    N  DEPTH STAGES WARPS_M WARPS_N SLICES
KERNELS(128x128, 4, TRANSPOSE, 2,            128, 128,  16,   2,     4,      2,      1)
KERNELS(64x64,   8, ALONG,     4,             64,  64,  16,   3,     2,      2,      1)
KERNELS(32x32,   8, ALONG,     4,             32,  32,   8,   4,     1,      1,      4)
KERNELS(64x16,   8, ALONG,     4,             64,  16,   8,   3,     1,      1,      4)
KERNELS(16x64,   4, ALONG,     4,             16,  64,   8,   3,     1,      1,      4)
KERNELS(16x16,   8, ALONG,     3,             16,  16,   8,   4,     1,      1,      8)
