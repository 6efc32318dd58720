// The kernel of fused_mlp.cuh for 64 units a block and chunks of 64 samples.
// registers: at most 255
// needs: sm_80

#include "fused_mlp.cuh"

KERNEL(64, 64)
