// One product of one trial, and where a block works: the tables that the grouped GEMM reads. The same
// structs are in src/engine/cuda/launch/gemm.rs, which says what each product does with them.
#pragma once
#include "dropout.cuh"
#include "rule.cuh"
#include "step.cuh"

struct GemmProblem {
    const float *a, *b;
    float *c;
    const float *bias;       // forward: n values, or null
    float *z;                // as c. forward writes it, or null; input gradient reads it, null: derivative 1
    const Rule *rule;        // weight gradient: by it the product moves c; null: it is written there
    float *velocity;         // as c; null without momentum
    const Step *step;        // its rows are m (forward, input gradient) or k (weight gradient); null: as given
    const Dropout *dropout;  // or null
    unsigned int m, n, k;
    unsigned int lda, ldb, ldc;  // floats; multiples of 4, as every base address is of 16 bytes
    unsigned int activation;     // an Activation of activation.cuh
    unsigned int pad;
};

// Block b computes rows tile_m * TILE_M and columns tile_n * TILE_N onward of C of a problem.
struct GemmTile {
    unsigned int problem, tile_m, tile_n, pad;
};
