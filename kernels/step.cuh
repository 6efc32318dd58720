// A trial's step at this tick, as all kernels of the tick read it. The same struct is in
// src/engine/cuda/launch/gemm.rs. Written by `begin`.
#pragma once

struct Step {
    unsigned int rows;          // samples of this step; 0: the trial idles
    unsigned int training;      // 1: training, 0: scoring, without dropout
    unsigned long long before;  // samples trained on before this step, in all epochs
};
