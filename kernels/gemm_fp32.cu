// Grouped GEMM on the ordinary cores, in FP32: forward, weight gradient and input gradient of a layer, for
// all trials of an array in one launch (gemm_problem.cuh says what a problem is, gemm_kernel.cuh how a block
// works, gemm_fp32_core.cuh how its threads multiply, gemm_sums.cuh and gemm_epilogue.cuh what follows).
// registers: at most 128
//
// Counted for one full tile, per 256 of k (forward / weight / input gradient): instructions in the loop of a
// stage, in SASS of sm_90, the rest on the simulated device:
//
//   tile     instructions a multiply-add   shared transactions a 1000   global sectors, floor
//   128x128  1.12 / 1.10 / 1.12            8.3                          10368 /  8448 / 12288,  8192
//   64x64    1.19 / 1.17 / 1.19            12.7                          4736 /  4352 /  5120,  4096
//   32x32    1.29 / 1.24 / 1.29            13.7                          2688 /  2304 /  3072,  2048
//   64x16    1.29 / 1.26 / 1.31            14.2                          3712 /  2816 /  3840,  2560
//   16x64    1.30 / 1.26 / 1.31            14.2                          2944 /  2816 /  3840,  2560
//   16x16    1.88 / 1.73 / 1.81            27.3                          1408 /  1280 /  1536,  1024
//
// Beside the multiply-add itself, the reads of fragments are 0.06 of it (128x128) or 0.09 (64x64 and 32x32).
// The floor is (M + N) * 256 floats. What exceeds it are rows that do not begin at a sector, because these
// were counted with leading dimensions of 4 modulo 8: multiples of 8 come to the floor. A weight gradient that
// updates its weights moves 16 bytes for each (8 without momentum) where one that stands alone stores 4, and
// touches 1.02 to 1.12 x the sectors of that.
//
// Not measured: no GPU was at hand. A multiprocessor issues four warps' instructions a cycle, so 128x128 is
// bound to 0.89 of the peak; it asks for 1.06 shared transactions a cycle where each 16-byte read counts as
// four, and the hardware has one to give, but merges the lanes that read the same 16 bytes. Expected beside
// cuBLAS: 0.93 to 0.98 on squares from 2048 on. Next, should that fall short: 128x256 tiles of 8x16 a thread,
// 0.05 for the fragments. Thin shapes alone are latency: three dependent reads (tile, problem, step) before
// the first copy; next, the step's rows read beside the first stage.

#include "gemm_fp32_core.cuh"
#include "gemm_kernel.cuh"

#define KERNEL(NAME, PRODUCT, LANES_M, MOVEMENT, BLOCKS, ...)                                              \
    GEMM_KERNEL(NAME, PRODUCT, BLOCKS, Fp32Core<PRODUCT, Tile<__VA_ARGS__>, LANES_M, MOVEMENT>)

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
