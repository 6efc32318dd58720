// What a block of fused_softmax has in shared memory, where its threads stand, and how samples and parameters
// come and go.
#pragma once
#include "fused_layout.cuh"

#define WARPS 4
#define THREADS (32 * WARPS)
#define GROUPS (16 * WARPS)  // of pixels
#define WORDS 3              // of four pixels, that a thread has
#define SLOTS (4 * WORDS + 1)
#define CLASSES 5  // that a thread has: half of all
#define ROWS 16    // samples of a tile
#define PASS 8     // samples whose logits a thread sums at a time
#define SPAN 128   // samples whose deltas are kept: eight tiles
#define PRIVATE 32  // of these, where every warp has a copy of its own
#define LINE 848   // bytes of a tile's row
#define TAIL (16 * WORDS * 4 * WARPS)  // the first pixel that no word of a thread has
#define BIAS 784   // the byte of a row that is 255 and whose weights are the biases
#define RING 512   // samples known by place
#define SCALE (1.0f / 255.0f)
#define WARP (threadIdx.x / 32)
#define LANE (threadIdx.x % 32)
#define LOOKS 64   // steps between two looks at whether to stop
#define MINUS_INFINITY __int_as_float(0xff800000)

#define ASYNC_COPY (__CUDA_ARCH__ >= 800)

// A run of samples of one step, and what follows it. Thread 0 says what the next one is while this one is
// worked on; the others look it up, which costs them no registers.
struct Span {
    unsigned int first, rows;      // places in the phase; at most SPAN
    unsigned int tiles, parity;    // how many tiles that is, and in which buffer the first one lies
    unsigned int next, next_rows;  // the tile to fetch for what follows; 0 rows: nothing
    unsigned int look_from, look_to;  // places to make known before
    float share;      // of a sample in the mean, with the scale of the pixels
    bool parked;      // not the first of its step
    bool whole;       // the last of its step
    bool last;        // of this phase, or before the block leaves
};

// Where the block's trial stands; thread 0's alone.
struct Course {
    unsigned int count, batch;       // samples of the phase and of a step
    unsigned int first, rows, done;  // the step's place and size, and how much of it was planned
    unsigned int known;              // places made known so far
    unsigned int parity;             // the buffer of the next tile
    unsigned int spent, steps;       // of this block, in all
};

struct Block {
    uint4 tiles[2][ROWS * LINE / 16];
    float4 partial[ROWS * 11];   // [sample][class]: what each warp's pixels add to a logit; 11: no bank twice
    float4 deltas[SPAN * 3];     // [sample]: classes 0 to 3, 5 to 8, then 4, 9 and two unused
    unsigned int samples[RING];  // by place in the phase
    unsigned char labels[RING];
    double losses[FUSED_LANES];  // of this phase
    unsigned int wrong[FUSED_LANES];
    unsigned int keys[8];
    FusedPlan plan;
    Samples part;  // of this phase
    unsigned int inputs, classes;
    Span spans[2];
    Course course;
    FusedCall call;
    unsigned int magic;
    float rate;
    bool taken, training, over, goes_on;
};

// Where a thread stands.
struct Place {
    unsigned int group;  // its pixels: words group + GROUPS j, and the byte TAIL + group
    unsigned int half;   // its classes: CLASSES half onward
    unsigned int magic;  // 2^23 as a float, from memory: a constant would take a move for every pixel
};

// Byte b of a word as a float: the byte of 2^23 + b, less 2^23. Exact.
__device__ static float pixel(const Place &at, unsigned int word, unsigned int b)
{
    return __uint_as_float(__byte_perm(word, at.magic, 0x7540u + b)) - 8388608.0f;
}

// The pixel of a thread's slot.
__device__ static unsigned int pixel_of(const Place &at, int slot)
{
    return slot < 4 * WORDS ? 4 * (at.group + GROUPS * (slot / 4)) + slot % 4 : TAIL + at.group;
}

// The place of a value of the thread in its [SLOTS * CLASSES][THREADS].
__device__ static unsigned int column(int slot, int c)
{
    return (CLASSES * slot + c) * THREADS + threadIdx.x;
}

// --- samples --------------------------------------------------------------------------------------------

// Makes places known: their samples and labels. A ring holds what is known ahead and a span behind.
__device__ static void look_up(Block &block, unsigned int from, unsigned int to)
{
    if (from >= to) return;
    const unsigned int count = block.part.count;
    const bool shuffled = block.training && block.plan.shuffled;
    for (unsigned int place = from + threadIdx.x; place < min(to, count); place += THREADS) {
        unsigned int sample = place;
        if (shuffled) sample = shuffle_index(place, count, block.keys);
        block.samples[place % RING] = sample;
        block.labels[place % RING] = block.part.labels[sample];
    }
    __syncthreads();
}

// Starts to copy `rows` samples from a place on into a tile.
__device__ static void fetch(const Block &block, const Place &at, uint4 *tile, unsigned int first,
                             unsigned int rows)
{
    const unsigned int inputs = block.inputs;
#pragma unroll
    for (unsigned int i = 0; i < ROWS / WARPS; i++) {
        const unsigned int row = WARP * (ROWS / WARPS) + i;
        if (row >= rows) break;
        const unsigned char *from = block.part.pixels + (size_t)block.samples[(first + row) % RING] * inputs;
        unsigned char *to = (unsigned char *)tile + row * LINE;
#pragma unroll
        for (unsigned int byte = 16 * LANE; byte < BIAS; byte += 512) {
            if (byte >= inputs) break;
#if ASYNC_COPY
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(
                             (unsigned int)__cvta_generic_to_shared(to + byte)),
                         "l"(from + byte)
                         : "memory");
#else
            *(uint4 *)(to + byte) = *(const uint4 *)(from + byte);
#endif
        }
    }
}

// Waits for the tile that is on its way; all threads are past what they did with the other one.
__device__ static void arrive()
{
#if ASYNC_COPY
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
    __syncthreads();
}

// --- a trial's parameters -------------------------------------------------------------------------------

// Where a slot's values of all its classes begin in `weight` or `bias` of a layer; null where no pixel is.
__device__ static float *place_of(const FusedLayer &layer, const Place &at, float *weight, float *bias, int slot)
{
    const unsigned int input = pixel_of(at, slot), first = CLASSES * at.half;
    float *place = input < layer.inputs ? weight + input * layer.stride + first : nullptr;
    if (slot == SLOTS - 1 && input == BIAS) place = bias + first;
    // One slot after the other: all addresses at once would take all registers.
    asm volatile("" : "+l"(place)::"memory");
    return place;
}

// Brings a trial's parameters into registers, and its velocities into shared memory.
__device__ static void load(const FusedLayer &layer, const Place &at, float (&w)[SLOTS][CLASSES], float *velocity)
{
    const unsigned int outputs = layer.outputs, first = CLASSES * at.half;
    if (layer.weight_velocity) {
#pragma unroll 1
        for (int i = 0; i < SLOTS; i++) {
            const float *place = place_of(layer, at, layer.weight_velocity, layer.bias_velocity, i);
            for (int c = 0; c < CLASSES; c++)
                velocity[column(i, c)] = place && first + c < outputs ? place[c] : 0.0f;
        }
    }
#pragma unroll
    for (int i = 0; i < SLOTS; i++) {
        const float *place = place_of(layer, at, layer.weight, layer.bias, i);
#pragma unroll
        for (int c = 0; c < CLASSES; c++) w[i][c] = place && first + c < outputs ? place[c] : 0.0f;
    }
}

__device__ static void store(const FusedLayer &layer, const Place &at, const float (&w)[SLOTS][CLASSES],
                             const float *velocity)
{
    const unsigned int outputs = layer.outputs, first = CLASSES * at.half;
#pragma unroll
    for (int i = 0; i < SLOTS; i++) {
        float *place = place_of(layer, at, layer.weight, layer.bias, i);
#pragma unroll
        for (int c = 0; c < CLASSES; c++)
            if (place && first + c < outputs) place[c] = w[i][c];
    }
    if (!layer.weight_velocity) return;
#pragma unroll 1
    for (int i = 0; i < SLOTS; i++) {
        float *place = place_of(layer, at, layer.weight_velocity, layer.bias_velocity, i);
        for (int c = 0; c < CLASSES; c++)
            if (place && first + c < outputs) place[c] = velocity[column(i, c)];
    }
}

// What is read before anything is written there: rows beyond the last, and of each row the byte of the biases.
__device__ static void clear(Block &block)
{
    for (unsigned int i = threadIdx.x; i < 2 * ROWS * LINE / 16; i += THREADS)
        block.tiles[0][i] = make_uint4(i % (LINE / 16) == BIAS / 16 ? 255u << 8 * (BIAS % 4) : 0, 0, 0, 0);
    for (unsigned int i = threadIdx.x; i < ROWS * 11; i += THREADS)
        block.partial[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
}
