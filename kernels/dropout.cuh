// Inverted dropout of a hidden layer. As `kept` of src/engine/cpu/dense.rs: a word a unit, a sample's words
// beginning at a multiple of sixteen.
#pragma once
#include "philox.cuh"

// The dropout of a hidden layer: who draws, and how often it drops.
struct Dropout {
    unsigned long long seed;
    unsigned int trial;
    unsigned int purpose;  // Purpose::Dropout(layer) of src/random.rs, as a word
    float probability;     // in [0, 1)
    unsigned int units;    // of the layer; sample s and unit u take word s * (units rounded up to 16) + u
};

// The purpose word of a hidden layer's dropout: kind 4, as Purpose::word says.
#define DROPOUT_PURPOSE(LAYER) ((4u << 16) | (LAYER))

// Multiplies the values of four units of a sample by their factors: 0 or 1 / (1 - p).
__device__ inline void drop(const Dropout &dropout, unsigned long long sample, unsigned int unit, float (&four)[4])
{
    const unsigned int blocks = (dropout.units + 15) / 16 * 4;
    const uint4 words = philox_block(dropout.seed, dropout.trial, dropout.purpose, sample * blocks + unit / 4);
    const float p = dropout.probability, scale = 1.0f / (1.0f - p);
    four[0] *= unit_float(words.x) < p ? 0.0f : scale;
    four[1] *= unit_float(words.y) < p ? 0.0f : scale;
    four[2] *= unit_float(words.z) < p ? 0.0f : scale;
    four[3] *= unit_float(words.w) < p ? 0.0f : scale;
}
