// fused_softmax: softmax regression, trained epoch after epoch within one launch (fused.cuh says how), for
// images of up to 784 pixels (a multiple of 16) and up to 10 classes.
//
// Four warps train a trial. A thread has 13 pixels by 5 classes of the weights in registers for as long as the
// block has the trial: words group, group + 64, group + 128 of a row of bytes, and the byte 768 + group; byte
// 784 is always 255, and its weights are the biases. Sixteen samples make a tile, copied as bytes while the
// other tile is worked on. 1/255 is applied to sums. Per step of a batch B:
//
//   logits     8 samples at a time: 40 sums a thread, added over the 16 lanes of a class half by exchanges in
//              which lane l has sum i be of sample i ^ l/2, so that none has to choose, then over the warps
//   softmax    every warp does all 16 samples (lane = sample + 16 x class half): no barrier for the deltas
//   gradient   in two parts of 8 and 5 pixels, each updated at once: 65 more sums would not fit beside 65 weights
//   B > 16     the tiles of up to 128 samples are walked to the end, back, and to the end again: logits, part
//              one, part two; what a walk starts with lies where the last one left it
//   B > 128    a part's sums wait in the trial's scratch, 33 KB, from span to span
//
// All sums have an order that depends on the batch alone; a row beyond the last has a delta of zero. So the bits
// of a trial do not depend on blocks, launches or neighbours.
//
// registers: at most 168
//
// The cost model, of a step of 16 on one multiprocessor with 128 FP32 lanes (H100, H200), issue slots a warp and
// scheduler; "counted" is SASS of sm_90 by loop (PTX has more: moves between register kinds):
//
//                            by hand   counted
//   multiply-adds, 2 x 16 x 13 x 5  2080      2080  (1960 if no pixel slot were idle)
//   bytes to floats, both ways       832       840  two instructions a pixel: permute, subtract 2^23
//   logits: loads, exchanges         230       310  (a pass of 8: 879 in all, 520 of them multiply-adds)
//   gradient: loads, addresses       192       370  (4 rows: 266 and 191, 160 and 100 of them multiply-adds)
//   update                           130       130  260 and 130 shared accesses with momentum
//   softmax                          130       270
//   copies, bookkeeping              100       150  warp 0 plans the next span: 190 more
//   together                        3700      4100
//
//   shared memory   1,667 transactions (momentum: 2,195), 44 of them conflicts, of about 4,800 cycles
//   cache           420 sectors of 32 bytes: 13.4 KB a step, 2.8 bytes a cycle and multiprocessor
//   barriers        2.1: tile there; logits there. A step is about 1,300 cycles of latency if alone
//   scored chunk    2,150 slots, 681 transactions
//   blocks          3 of 128 threads: 168 registers, 39.4 KB shared (momentum: 72.7 KB; 2 where 164 KB are all)
//
// Prediction for 132 multiprocessors at 1.755 GHz, three warps a scheduler that fill 85 to 90 % of the slots:
// 4,550 to 4,800 cycles a step, 3,750 steps and 625 scored chunks an epoch (60,000 and 10,000 samples): 11,800
// to 12,500 trial-epochs/s, at 1.98 GHz 13,300 to 14,100; not measured, no GPU was at hand. Half the FP32
// lanes (A100) or 2 blocks (100 KB shared): about half.
//
// Next, by this model: (1) the tile as floats in shared memory, 50 KB, converted once: 600 slots less, for GPUs
// with 228 KB; same bits. (2) 4 blocks at 128 registers: 120 bytes spill today. (3) Matrix units: bytes are
// exact in FP16, a weight is two FP16 (22 bits), logits^T = W^T X^T and G^T = D^T X have the same fragment
// layout for weights and gradients, 392 m16n8k16 a step; 66 instructions a 16-pixel tile in all, 810 slots a
// scheduler: 3 to 4 times this kernel, with FP32-like accuracy, as --precision 3xtf32.
// Tried and lost: 65 sums of the gradient at once (32 registers spill); 2^23 as a constant (the compiler
// then moves every selector into a register: 12 % more instructions); a loop over rows not unrolled (6 % more).

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

// The place of a value of the thread in its [SLOTS * CLASSES][THREADS].
__device__ static unsigned int column(int slot, int c)
{
    return (CLASSES * slot + c) * THREADS + threadIdx.x;
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

// --- a phase of an epoch --------------------------------------------------------------------------------

// Says what follows in the phase. To be called by thread 0.
__device__ static void plan_span(Block &block, const FusedLaunch &launch, Span &span)
{
    Course &course = block.course;
    if (course.done == course.rows) {
        course.first += course.rows;
        course.rows = min(course.batch, course.count - course.first);
        course.done = 0;
        course.steps++;
    }
    span.first = course.first + course.done;
    span.rows = min(SPAN, course.rows - course.done);
    span.tiles = (span.rows + ROWS - 1) / ROWS;
    span.parity = course.parity;
    course.parity = (course.parity + span.tiles) % 2;
    span.share = SCALE / (float)course.rows;
    span.parked = course.done > 0;
    course.done += span.rows;
    course.spent += (block.training ? 2 : 1) * span.tiles;
    span.whole = course.done == course.rows;
    span.next = span.first + span.rows;
    span.last = span.whole && (span.next == course.count || course.spent >= launch.budget ||
                               (course.steps % LOOKS == 0 && fused_stopped(launch)));
    const unsigned int left = span.whole ? min(course.batch, course.count - span.next) : course.rows - course.done;
    span.next_rows = span.last ? 0 : min(ROWS, left);
    span.look_from = course.known;
    if (course.known < span.next + span.next_rows)
        course.known += (span.next + span.next_rows - course.known + THREADS - 1) / THREADS * THREADS;
    span.look_to = course.known;
}

// Logits, losses and, in training, deltas of a span. A tile is fetched while another is worked on: what
// comes next lies in the other of the two.
__device__ static void forward(Block &block, const Place &at, const Span &span,
                               const float (&w)[SLOTS][CLASSES], float *deltas, bool own)
{
    const unsigned int tiles = span.tiles, parity = span.parity;
#pragma unroll 1
    for (unsigned int tile = 0; tile < tiles; tile++) {
        const unsigned int first = span.first + tile * ROWS, here = min(ROWS, span.rows - tile * ROWS);
        if (tile > 0) arrive();
        uint4 *other = block.tiles[(parity + tile + 1) % 2];
        if (tile + 1 < tiles)
            fetch(block, at, other, first + ROWS, min(ROWS, span.rows - (tile + 1) * ROWS));
        else if (tiles == 1)
            fetch(block, at, other, span.next, span.next_rows);
        multiply(block, at, block.tiles[(parity + tile) % 2], w, here);
        __syncthreads();
        const float smoothing = block.training ? block.plan.smoothing : 0.0f;
        const bool stores = own || LANE % ROWS / (ROWS / WARPS) == WARP;
        const Outcome outcome = compare(block, at, block.classes, first, here, smoothing, span.share,
                                        block.training ? deltas + tile * ROWS * 12 : nullptr, stores);
        if (WARP == 0 && LANE < here) {
            block.losses[LANE] += outcome.loss;
            block.wrong[LANE] += outcome.wrong;
        }
    }
}

// One part of a span's gradient, and its update. The tiles are walked from the last to the first for one part,
// and from there to the last for the other: each walk finds its first two where they are, and one tile (a batch
// of 16) is fetched once for all.
template <int PART>
__device__ static void backward(Block &block, const Place &at, const Span &span, float (&w)[SLOTS][CLASSES],
                                float *velocity, const float *deltas)
{
    const unsigned int tiles = span.tiles, parity = span.parity;
    float g[Slots<PART>::COUNT][CLASSES];
    resume<PART>(block.plan.scratch, span.parked, g);
#pragma unroll 1
    for (unsigned int i = 0; i < tiles; i++) {
        const unsigned int tile = PART == 0 ? tiles - 1 - i : i, here = min(ROWS, span.rows - tile * ROWS);
        if (i > 0) {
            arrive();
            uint4 *other = block.tiles[(parity + tile + 1) % 2];
            const unsigned int next = PART == 0 ? tile - 1 : tile + 1;
            if (i + 1 < tiles)
                fetch(block, at, other, span.first + next * ROWS,
                      min(ROWS, span.rows - next * ROWS));
            else if (PART == 1)
                fetch(block, at, other, span.next, span.next_rows);
        }
        // Rows beyond the last have deltas of zero.
        accumulate<PART>(at, block.tiles[(parity + tile) % 2], deltas + tile * ROWS * 12, (here + 3) / 4 * 4, g);
    }
    if (span.whole)
        update<PART>(block.plan, block.rate, velocity, w, g);
    else
        park<PART>(block.plan.scratch, g);
}

// Trains or scores from the course's place on, to the end of the phase or until the block has to leave.
__device__ static void advance(Block &block, const FusedLaunch &launch, const Place &at, float (&w)[SLOTS][CLASSES],
                               float *velocity)
{
    if (threadIdx.x == 0) plan_span(block, launch, block.spans[0]);
    __syncthreads();
    const Span &opening = block.spans[0];
    look_up(block, opening.look_from, opening.look_to);
    fetch(block, at, block.tiles[opening.parity], opening.first, min(ROWS, opening.rows));
#pragma unroll 1
    for (unsigned int turn = 0;; turn ^= 1) {
        arrive();
        const Span &span = block.spans[turn];
        if (threadIdx.x == 0 && !span.last) plan_span(block, launch, block.spans[turn ^ 1]);
        look_up(block, span.look_from, span.look_to);  // of the first span once more
        const bool own = span.rows <= PRIVATE;
        float *deltas = (float *)block.deltas + (own ? WARP * PRIVATE * 12 : 0);
        forward(block, at, span, w, deltas, own);
        if (block.training) {
            if (own)
                __syncwarp();
            else
                __syncthreads();
            backward<0>(block, at, span, w, velocity, deltas);
            backward<1>(block, at, span, w, velocity, deltas);
        }
        if (span.last) break;
    }
    __syncthreads();
}

// Takes a call and brings its trial into the block. False: the block leaves.
__device__ static bool open(Block &block, const FusedLaunch &launch)
{
    __syncthreads();
    if (threadIdx.x == 0) {
        block.taken = block.course.spent < launch.budget && fused_take(launch, block.call);
        if (block.taken) {
            FusedClock &clock = launch.clocks[block.call.trial];
            fused_open(launch.plans[block.call.trial], block.call, clock);
            block.rate = clock.learning_rate;
            block.training = clock.phase == TRAINING;
        }
    }
    __syncthreads();
    if (!block.taken) return false;
    const unsigned int *plan = (const unsigned int *)(launch.plans + block.call.trial);
    for (unsigned int i = threadIdx.x; i < sizeof(FusedPlan) / 4; i += THREADS)
        ((unsigned int *)&block.plan)[i] = plan[i];
    if (threadIdx.x < 8) block.keys[threadIdx.x] = launch.clocks[block.call.trial].keys[threadIdx.x];
    __syncthreads();
    return true;
}

// Before and after a phase: what the clock says, into the block and back.
__device__ static void begin_phase(Block &block, const FusedLaunch &launch, const Place &at)
{
    FusedClock &clock = launch.clocks[block.call.trial];
    if (WARP == 0) {
        block.losses[LANE] = (block.training ? clock.train_loss : clock.validation_loss)[LANE];
        block.wrong[LANE] = clock.wrong[LANE];
    }
    if (threadIdx.x == 0) {
        const Data &data = *launch.data;
        Course &course = block.course;
        block.part = block.training ? data.training : data.validation;
        block.inputs = data.inputs;
        block.classes = data.classes;
        course.count = block.part.count;
        course.batch = block.training ? block.plan.batch : ROWS;
        course.first = course.known = clock.first;
        course.rows = course.done = 0;
    }
    __syncwarp();
}

__device__ static void end_phase(Block &block, const FusedLaunch &launch, const Place &at)
{
    FusedClock &clock = launch.clocks[block.call.trial];
    if (WARP == 0) {
        (block.training ? clock.train_loss : clock.validation_loss)[LANE] = block.losses[LANE];
        if (!block.training) clock.wrong[LANE] = block.wrong[LANE];
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        const unsigned int first = block.course.first + block.course.rows;
        const bool ends = first == block.course.count, trained = ends && block.training;
        if (block.training) clock.before += first - clock.first;
        clock.first = trained ? 0 : first;
        if (trained) clock.phase = SCORING;
        block.over = ends && !block.training;
        block.goes_on = trained && block.course.spent < launch.budget;
        if (trained) block.training = false;
    }
    __syncthreads();
}

extern "C" __global__ void __launch_bounds__(THREADS, 3) fused_softmax(FusedLaunch launch)
{
    __shared__ Block block;
    extern __shared__ float velocity[];  // [SLOTS * CLASSES][THREADS]; none without momentum
    if (threadIdx.x == 0) block.magic = 0x4B000000u;
    __syncthreads();
    const unsigned int magic = *(volatile unsigned int *)&block.magic;
    const Place at = {16 * WARP + LANE % 16, LANE / 16, magic};
    float w[SLOTS][CLASSES];
    clear(block);
    if (threadIdx.x == 0) block.course.spent = block.course.steps = block.course.parity = 0;
    while (open(block, launch)) {
        load(block.plan.layers[0], at, w, velocity);
        do {
            begin_phase(block, launch, at);
            advance(block, launch, at, w, velocity);
            end_phase(block, launch, at);
        } while (block.goes_on);
        store(block.plan.layers[0], at, w, velocity);
        __syncthreads();
        if (threadIdx.x == 0 && block.over) fused_report(launch, block.call.trial, launch.clocks[block.call.trial]);
    }
}
