// Grouped GEMM on the tensor cores of sm_90, in TF32, for large problems (gemm_fp32.cu says what it computes,
// gemm_wgmma_core.cuh how).
// registers: at most 240
// needs: sm_90a
//
// Counted for one full tile, per 256 of k (forward / weight gradient / input gradient), beside the 128x128 of
// gemm_tf32.cu: instructions of warps in the loop of a stage, in SASS, the rest on the simulated device:
//
//   tile     instructions a 1000 multiply-adds   shared transactions a 1000   conflicts   global sectors, floor
//   256x128  1.36 / 1.82 / 1.25                  1.31                         0           14424 / 12440 / 13656, 12288
//   128x128  4.7  / 4.9  / 4.3                   1.77                         0            9260 /  8300 /  8876,  8192
//
// A stage is 1024 cycles of a multiprocessor's tensor cores. Meanwhile each of its schedulers issues 330 to 480
// instructions, a third of them the rounding of B; shared memory is busy all the time (512 passes for wgmma, 384 for
// copies, 128 for fragments); and the second-level cache would have to give 48 bytes a cycle (128x128: 64). It may
// give 24 to 30, and that is what this kernel waits for.
//
// Not measured: no GPU was at hand. Expected beside cuBLAS on an H200: 0.65 to 0.8 on squares from 2048 on. Next,
// for 0.95: blocks in clusters of two, to which bulk tensor copies bring a line of A once, 32 bytes a cycle, and a
// warp that does nothing but copy; or tiles of 256x192, 37 bytes a cycle, which leave no registers for copies.

#include "gemm_wgmma_core.cuh"
#include "gemm_kernel.cuh"

#define KERNEL(NAME, PRODUCT, BLOCKS, ...)                                                                 \
    GEMM_KERNEL(NAME, PRODUCT, BLOCKS, WgmmaCore<PRODUCT, Tile<__VA_ARGS__>>)

#define KERNELS(SUFFIX, ...)                                                                               \
    KERNEL(forward_##SUFFIX, FORWARD, __VA_ARGS__)                                                         \
    KERNEL(weight_gradient_##SUFFIX, WEIGHT_GRADIENT, __VA_ARGS__)                                         \
    KERNEL(input_gradient_##SUFFIX, INPUT_GRADIENT, __VA_ARGS__)

//      tile   blocks;  M    N  DEPTH STAGES WARPS_M WARPS_N SLICES
KERNELS(256x128, 1,   256, 128,  32,   4,     1,      8,      1)
