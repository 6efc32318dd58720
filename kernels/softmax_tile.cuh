// The arithmetic of fused_softmax on a tile of sixteen samples: logits, losses and deltas; the gradient in two
// parts, and its update.
#pragma once
#include "softmax_block.cuh"

// --- a tile ---------------------------------------------------------------------------------------------

// What the warp's pixels add to the logits of a tile's samples, into `partial`.
__device__ static void multiply(Block &block, const Place &at, const uint4 *tile, const float (&w)[SLOTS][CLASSES],
                                unsigned int rows)
{
    const unsigned int turn = LANE / 2 % PASS;
#pragma unroll 1
    for (unsigned int first = 0; first < rows; first += PASS) {
        const unsigned char *lines = (const unsigned char *)tile + first * LINE + 4 * at.group;
        float sums[PASS][CLASSES];
#pragma unroll
        for (int i = 0; i < PASS; i++) {
            // Sum i is of sample i ^ turn: then no lane has to choose what it gives and what it keeps.
            const unsigned char *line = lines + (i ^ turn) * LINE;
            const float x = pixel(at, line[TAIL - 3 * (int)at.group], 0);
#pragma unroll
            for (int c = 0; c < CLASSES; c++) sums[i][c] = w[SLOTS - 1][c] * x;
        }
#pragma unroll
        for (int j = 0; j < WORDS; j++) {
#pragma unroll
            for (int i = 0; i < PASS; i++) {
                const unsigned int word = *(const unsigned int *)(lines + (i ^ turn) * LINE + 4 * GROUPS * j);
#pragma unroll
                for (int b = 0; b < 4; b++) {
                    const float x = pixel(at, word, b);
#pragma unroll
                    for (int c = 0; c < CLASSES; c++) sums[i][c] = fmaf(w[4 * j + b][c], x, sums[i][c]);
                }
            }
        }
#pragma unroll
        for (int half = PASS / 2; half > 0; half /= 2)
#pragma unroll
            for (int i = 0; i < half; i++)
#pragma unroll
                for (int c = 0; c < CLASSES; c++)
                    sums[i][c] += __shfl_xor_sync(0xffffffffu, sums[i + half][c], 2 * half);
#pragma unroll
        for (int c = 0; c < CLASSES; c++) sums[0][c] += __shfl_xor_sync(0xffffffffu, sums[0][c], 1);
        float *partial = (float *)(block.partial + (first + turn) * 11 + CLASSES * at.half) + WARP;
        if (LANE % 2 == 0)
#pragma unroll
            for (int c = 0; c < CLASSES; c++) partial[4 * c] = sums[0][c];
    }
}

// What the samples of a tile come to: of one sample, by the lanes that have its logits.
struct Outcome {
    float loss;
    bool wrong;
};

// From the parts of the logits to losses and, in training, deltas times share. Every warp does all of it, so
// that the deltas need no barrier; beyond the rows that exist deltas are zero.
__device__ static Outcome compare(Block &block, const Place &at, unsigned int classes, unsigned int first,
                                  unsigned int rows, float smoothing, float share, float *deltas, bool stores)
{
    const unsigned int sample = LANE % ROWS, half = LANE / ROWS;
    const unsigned int label = block.labels[(first + min(sample, rows - 1)) % RING];
    const unsigned int own = CLASSES * half;
    const float off = smoothing / (float)classes, on = 1.0f - smoothing;
    float z[CLASSES], largest = MINUS_INFINITY;
#pragma unroll
    for (int c = 0; c < CLASSES; c++) {
        const float4 parts = block.partial[sample * 11 + own + c];
        const float sum = (parts.x + parts.y + parts.z + parts.w) * SCALE;
        z[c] = own + c < classes ? sum : MINUS_INFINITY;
        largest = fmaxf(largest, z[c]);
    }
    largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, ROWS));
    float sum = 0.0f, expected = 0.0f, e[CLASSES];
#pragma unroll
    for (int c = 0; c < CLASSES; c++) {
        const float from_largest = z[c] - largest, target = off + (own + c == label ? on : 0.0f);
        e[c] = own + c < classes ? expf(from_largest) : 0.0f;
        sum += e[c];
        // A class that is not aimed at adds nothing, also when its logit is minus infinity.
        if (own + c < classes && target > 0.0f) expected += target * from_largest;
    }
    sum += __shfl_xor_sync(0xffffffffu, sum, ROWS);
    expected += __shfl_xor_sync(0xffffffffu, expected, ROWS);
    const float loss = logf(sum) - expected;
    if (deltas) {
        const float scale = 1.0f / sum;
        float d[CLASSES];
#pragma unroll
        for (int c = 0; c < CLASSES; c++) {
            const float target = off + (own + c == label ? on : 0.0f);
            d[c] = sample < rows && own + c < classes ? (e[c] * scale - target) * share : 0.0f;
        }
        if (stores) {
            ((float4 *)deltas)[3 * sample + half] = make_float4(d[0], d[1], d[2], d[3]);
            deltas[12 * sample + 8 + half] = d[4];
        }
        return {loss, false};
    }
    unsigned int best = classes;
#pragma unroll
    for (int c = CLASSES - 1; c >= 0; c--)
        if (z[c] == largest) best = own + c;
    best = min(best, __shfl_xor_sync(0xffffffffu, best, ROWS));
    return {loss, !(loss == loss && best == label)};
}

// --- the gradient, in two parts -------------------------------------------------------------------------

// The slots of a part. The gradient of all would leave the weights no registers.
template <int PART> struct Slots {
    static constexpr int FIRST = PART == 0 ? 0 : 8, COUNT = PART == 0 ? 8 : SLOTS - 8;
    static constexpr int WHOLE = COUNT / 4;  // words
    static constexpr bool HAS_TAIL = PART == 1;
};

// Adds what a tile's samples contribute. `rows` is even.
template <int PART>
__device__ static void accumulate(const Place &at, const uint4 *tile, const float *deltas, unsigned int rows,
                                  float (&g)[Slots<PART>::COUNT][CLASSES])
{
    using S = Slots<PART>;
    const unsigned char *line = (const unsigned char *)tile + 4 * at.group;
    const float *delta = deltas + 4 * at.half, *fifth = deltas + 8 + at.half;
#pragma unroll 4
    for (unsigned int row = 0; row < rows; row++) {
        const float4 four = *(const float4 *)(delta + 12 * row);
        const float d[CLASSES] = {four.x, four.y, four.z, four.w, fifth[12 * row]};
#pragma unroll
        for (int j = 0; j < S::WHOLE; j++) {
            const unsigned int word = *(const unsigned int *)(line + row * LINE + GROUPS * (S::FIRST + 4 * j));
#pragma unroll
            for (int b = 0; b < 4; b++) {
                const float x = pixel(at, word, b);
#pragma unroll
                for (int c = 0; c < CLASSES; c++) g[4 * j + b][c] = fmaf(d[c], x, g[4 * j + b][c]);
            }
        }
        if (S::HAS_TAIL) {
            const float x = pixel(at, line[row * LINE + TAIL - 3 * at.group], 0);
#pragma unroll
            for (int c = 0; c < CLASSES; c++) g[S::COUNT - 1][c] = fmaf(d[c], x, g[S::COUNT - 1][c]);
        }
    }
}

// torch.optim.SGD, as sgd.cu has it.
template <int PART>
__device__ static void update(const FusedPlan &plan, float rate, float *velocity, float (&w)[SLOTS][CLASSES],
                              const float (&g)[Slots<PART>::COUNT][CLASSES])
{
    using S = Slots<PART>;
    const float decay = plan.weight_decay, momentum = plan.momentum;
    const bool nesterov = plan.nesterov != 0;
    if (momentum > 0.0f) {
#pragma unroll
        for (int i = 0; i < S::COUNT; i++)
#pragma unroll
            for (int c = 0; c < CLASSES; c++) {
                float &weight = w[S::FIRST + i][c], &v = velocity[column(S::FIRST + i, c)];
                const float slope = fmaf(decay, weight, g[i][c]), moved = fmaf(momentum, v, slope);
                v = moved;
                weight = fmaf(-rate, nesterov ? fmaf(momentum, moved, slope) : moved, weight);
            }
    } else {
#pragma unroll
        for (int i = 0; i < S::COUNT; i++)
#pragma unroll
            for (int c = 0; c < CLASSES; c++) {
                float &weight = w[S::FIRST + i][c];
                weight = fmaf(-rate, fmaf(decay, weight, g[i][c]), weight);
            }
    }
}

// Of a batch beyond a span: the gradient so far, from or to the trial's scratch.
template <int PART>
__device__ static void resume(const float *scratch, bool parked, float (&g)[Slots<PART>::COUNT][CLASSES])
{
#pragma unroll
    for (int i = 0; i < Slots<PART>::COUNT; i++)
#pragma unroll
        for (int c = 0; c < CLASSES; c++) g[i][c] = 0.0f;
    if (!parked) return;
#pragma unroll
    for (int i = 0; i < Slots<PART>::COUNT; i++)
#pragma unroll
        for (int c = 0; c < CLASSES; c++) g[i][c] = scratch[column(Slots<PART>::FIRST + i, c)];
}

template <int PART>
__device__ static void park(float *scratch, const float (&g)[Slots<PART>::COUNT][CLASSES])
{
#pragma unroll
    for (int i = 0; i < Slots<PART>::COUNT; i++)
#pragma unroll
        for (int c = 0; c < CLASSES; c++) scratch[column(Slots<PART>::FIRST + i, c)] = g[i][c];
}
