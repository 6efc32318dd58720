// Grouped GEMM on the tensor cores, in TF32 (gemm_fp32.cu says what it computes, gemm_mma_core.cuh how).
// registers: at most 208
// needs: sm_80
//
// Counted for one full tile, per 256 of k (forward / weight / input gradient): instructions in the loop of a
// stage, in SASS of sm_90, the rest on the simulated device:
//
//   tile     instructions a matrix one   shared transactions a 1000   conflicts      global sectors, floor
//   128x128   4.8 /  5.0 /  4.4          1.46                         0               9344 / 8448 / 10240, 8192
//   64x64     9.4 /  9.4 /  8.8          2.93                         0               4736 / 4352 /  5120, 4096
//   32x32    12.5 / 11.5 / 12.0          3.91                         0               2688 / 2304 /  3072, 2048
//   64x16    14.0 / 14.5 / 13.8          5.37 / 5.37 / 4.88           9 % / 9 % / 0   3712 / 2816 /  3840, 2560
//   16x64    14.4 / 14.5 / 13.8          4.88 / 5.37 / 4.88           0 / 9 % / 0     2944 / 2816 /  3840, 2560
//   16x16    33.5 / 30.5 / 31.0          9.77 / 11.7 / 7.81           20 / 33 / 0 %   1408 / 1280 /  1536, 1024
//
// The conflicts are those of copies into lines of 16, which are 24 apart for the sake of the reads: four
// times as many. Of the instructions of 128x128 two are the rounding, 0.25 to 1 the reads.
//
// Not measured: no GPU was at hand. Should mma.sync reach 60 % of an H200's peak, an instruction takes a
// scheduler some 6 cycles, and the large tile waits for the tensor cores. Expected beside cuBLAS: 0.55 to 0.65 on
// large squares where that uses wgmma, as gemm_tf32_sm90.cu does for them on sm_90, and about 1 where it uses
// mma.sync itself.

#include "gemm_mma_core.cuh"
#include "gemm_kernel.cuh"

#define KERNEL(NAME, PRODUCT, BLOCKS, ...)                                                                 \
    GEMM_KERNEL(NAME, PRODUCT, BLOCKS, MmaCore<PRODUCT, Tile<__VA_ARGS__>, false>)

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
