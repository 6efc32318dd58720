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

#include "softmax_tile.cuh"

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
