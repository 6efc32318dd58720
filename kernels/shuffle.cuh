// The order in which an epoch visits its samples: a keyed bijection of [0, n), evaluated index by index.
//
// An alternating Feistel network of eight rounds over the smallest power of two that holds n, with cycle
// walking (Mitchell et al., "Bandwidth-optimal random shuffling for GPUs", 2021). Bit for bit
// `Shuffle` of src/random.rs. Cost: about 60 integer operations an index, times at most two on average.
#pragma once
#include "philox.cuh"

// The purpose word of a shuffle's round keys: kind 3, as Purpose::word says.
#define SHUFFLE_PURPOSE (3u << 16)

// The eight round keys of a trial's epoch, counted from 0.
__device__ inline void shuffle_keys(unsigned long long seed, unsigned int trial, unsigned int epoch,
                                    unsigned int *keys)
{
#pragma unroll 1  // both at once take two registers more than begin has
    for (unsigned int half = 0; half < 2; half++) {
        const uint4 words = philox_block(seed, trial, SHUFFLE_PURPOSE, 2ull * epoch + half);
        keys[4 * half] = words.x;
        keys[4 * half + 1] = words.y;
        keys[4 * half + 2] = words.z;
        keys[4 * half + 3] = words.w;
    }
}

__device__ inline unsigned int shuffle_mix(unsigned int half, unsigned int key)
{
    unsigned int x = (half ^ key) * 0x9E3779B1u;
    return ((x ^ (x >> 15)) * 0x85EBCA77u) >> 16;
}

// The sample at `position` of an order of n samples.
__device__ inline unsigned int shuffle_index(unsigned int position, unsigned int n, const unsigned int *keys)
{
    const unsigned int bits = max(32 - __clz(n - 1), 2);
    const unsigned int right_bits = (bits + 1) / 2;
    const unsigned int left_mask = (1u << (bits - right_bits)) - 1, right_mask = (1u << right_bits) - 1;
    unsigned int index = position;
    do {
        unsigned int left = index >> right_bits, right = index & right_mask;
#pragma unroll
        for (int round = 0; round < 8; round += 2) {
            left ^= shuffle_mix(right, keys[round]) & left_mask;
            right ^= shuffle_mix(left, keys[round + 1]) & right_mask;
        }
        index = left << right_bits | right;
    } while (index >= n);
    return index;
}
