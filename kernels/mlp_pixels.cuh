// A chunk's pixels on their way from global memory to shared memory: stage by stage, 64 pixels of every
// sample, as bytes in registers while the stage before is multiplied, then as bf16 (exact) in a tile.
//
// Four threads a sample take 16 bytes each: two or three sectors of 32 bytes. Rows that are no multiple of
// 16 bytes are read byte by byte: such images are small. What lies beyond the image, and rows that the
// chunk does not have, become zeros.
//
// Cost a pixel: 2.5 instructions and a byte from the second-level cache; no bank conflict.
#pragma once
#include "bf16x3.cuh"
#include "mlp_shape.cuh"

// Two bytes of a word as two bf16. Below a mantissa of 2^23 a byte is a float in one instruction.
template <int FIRST> __device__ inline unsigned int two_pixels(unsigned int word)
{
    const float first = __uint_as_float(__byte_perm(word, 0x4B000000u, 0x7650 + FIRST)) - 8388608.0f;
    const float second = __uint_as_float(__byte_perm(word, 0x4B000000u, 0x7651 + FIRST)) - 8388608.0f;
    return upper_halves(first, second);
}

template <class M> struct Pixels {
    static constexpr int PIECES = M::SAMPLES * M::SLICES;  // of 16 pixels, a stage
    static constexpr int LOADS = (PIECES + M::THREADS - 1) / M::THREADS;

    const unsigned char *pixels;  // [samples][inputs]
    unsigned int inputs;
    uint4 waiting[LOADS];

    __device__ Pixels(const unsigned char *pixels, unsigned int inputs) : pixels(pixels), inputs(inputs) {}

    // Starts to read a stage of these rows.
    __device__ void fetch(const MlpRows<M> &rows, unsigned int stage)
    {
#pragma unroll
        for (int load = 0; load < LOADS; load++) {
            const unsigned int piece = threadIdx.x + load * M::THREADS;
            const unsigned int first = stage * M::STAGE + piece % M::SLICES * 16;
            uint4 &bytes = waiting[load];
            bytes = make_uint4(0, 0, 0, 0);
            if (piece >= PIECES || first >= inputs) continue;
            const unsigned int sample = rows.sample[piece / M::SLICES];
            if (sample == MLP_ABSENT) continue;
            const unsigned char *from = pixels + (size_t)sample * inputs + first;
            if (inputs % 16 == 0) {
                bytes = __ldg((const uint4 *)from);
                continue;
            }
            // The words move up by one, so that all are in registers and the code stands here once.
#pragma unroll 1
            for (unsigned int i = 0; i < 16; i += 4)
                bytes = make_uint4(bytes.y, bytes.z, bytes.w, word(from + i, first + i));
        }
    }

    // Puts what was fetched into a tile [sample][pixel].
    __device__ void put(unsigned short *tile) const
    {
#pragma unroll
        for (int load = 0; load < LOADS; load++) {
            const unsigned int piece = threadIdx.x + load * M::THREADS;
            if (piece >= PIECES) continue;
            const uint4 bytes = waiting[load];
            uint4 *to = (uint4 *)(tile + piece / M::SLICES * M::PIXEL_STRIDE + piece % M::SLICES * 16);
            to[0] = make_uint4(two_pixels<0>(bytes.x), two_pixels<2>(bytes.x), two_pixels<0>(bytes.y),
                               two_pixels<2>(bytes.y));
            to[1] = make_uint4(two_pixels<0>(bytes.z), two_pixels<2>(bytes.z), two_pixels<0>(bytes.w),
                               two_pixels<2>(bytes.w));
        }
    }

private:
    __device__ unsigned int word(const unsigned char *from, unsigned int first) const
    {
        unsigned int word = 0;
#pragma unroll
        for (unsigned int i = 0; i < 4; i++)
            if (first + i < inputs) word |= (unsigned int)from[i] << 8 * i;
        return word;
    }
};
