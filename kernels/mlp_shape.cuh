// The shape of a block of the fused MLP kernel, and what it keeps in shared memory.
//
//   UNITS    hidden units of the block: its columns of the first layer's weights
//   SAMPLES  samples of a chunk: what goes through the layers at a time
//
// Weights lie as the tensor cores hold them, so that a lane reads and writes its own 16 bytes and nobody
// else's: [block of 16 pixels][tile of 16 units][half][lane] float4 = units g and g + 8, pixels
// 8 half + 2 t and + 1, of lane 4 g + t. This is the left operand of the forward product and the result of
// the weight gradient's, both of which are computed with the units as rows.
#pragma once
#include "fused.cuh"

#define MLP_CLASSES 12         // the most classes; a multiple of 4, so that rows of it meet no bank conflict
#define MLP_TEAM_LEVELS 4      // of a tree of blocks: 16 at most
#define MLP_ABSENT 0xffffffffu // the sample of a row that the chunk does not have

template <int UNITS_, int SAMPLES_> struct MlpShape {
    static constexpr int UNITS = UNITS_, SAMPLES = SAMPLES_;
    static constexpr int TILES = UNITS / 16;                   // of units
    static constexpr int WARP_TILES = TILES == 4 ? 2 : 1;      // of a warp
    static constexpr int SLICES = 4;                           // warps that share units and part the pixels
    static constexpr int THREADS = 32 * SLICES * TILES / WARP_TILES;
    static constexpr int COLUMNS = SAMPLES / 8;                // tiles of samples, forward
    static constexpr int STEPS = SAMPLES / 16;                 // of the reduced dimension, backward
    static constexpr int STAGE = 16 * SLICES;                  // pixels that are in shared memory at a time
    static constexpr int PIXEL_STRIDE = STAGE + 8;             // bf16: rows 16 bytes apart modulo 128
    static constexpr int SAMPLE_STRIDE = SAMPLES + 8;          // floats: rows 8 banks apart
    static constexpr int HALVES = THREADS / 128;               // of the units, that other lanes read at a time
    static constexpr int HIDDEN = UNITS * SAMPLE_STRIDE + 16, HEAD = UNITS * MLP_CLASSES + 8;

    // Where the row of a unit lies; the second half so that both halves are read without bank conflicts.
    __device__ static constexpr unsigned int hidden(unsigned int unit)
    {
        return unit * SAMPLE_STRIDE + unit / (UNITS / HALVES) * 16;
    }

    __device__ static constexpr unsigned int head(unsigned int unit)
    {
        return unit * MLP_CLASSES + unit / (UNITS / HALVES) * 8;
    }
};

// What a chunk's rows are.
template <class M> struct MlpRows {
    unsigned int sample[M::SAMPLES];  // in the data, or MLP_ABSENT
    unsigned int label[M::SAMPLES];
};

template <class M> struct alignas(16) MlpMemory {
    union {
        unsigned short pixels[2][M::SAMPLES * M::PIXEL_STRIDE];  // bf16, two stages
        float hidden[M::HIDDEN];                                 // [unit][sample]: sums, values, then deltas
    };
    float logits[M::SAMPLES * MLP_CLASSES];                      // [sample][class], of the block's units alone
    float delta[MLP_CLASSES * M::SAMPLE_STRIDE];                 // [class][sample]
    float head[M::HEAD], head_bias[MLP_CLASSES];                 // the second layer
    float bias[M::UNITS];
    float losses[M::SAMPLES];
    unsigned int wrong[M::SAMPLES];
    MlpRows<M> rows[2];                                          // of this chunk and of the next
    FusedPlan plan;
    FusedClock clock;
    unsigned int word, pad[3];                                   // of the team
};

