// Moving one operand's part of a pipeline stage from global to shared memory, by the threads of a group.
//
// A stage of an operand is `X` rows (A) or columns (B) of C by `DEPTH` of the reduced dimension k. How it
// lies in memory decides how it is moved:
//
//   ACROSS     global [k][x], shared [k][x]  16 bytes a copy
//   ALONG      global [x][k], shared [x][k]  16 bytes a copy
//   TRANSPOSE  global [x][k], shared [k][x]   4 bytes a copy, eight k by four x a warp: whole 32-byte
//              sectors on the one side, all 32 banks on the other (STRIDE is 4 more than a multiple of 32,
//              or 16 + 4), and four times the copies of the others: 16 in a loop of 1024 multiply-adds.
//   TURN       global [k][x], shared [x][k]   4 bytes a copy, eight x by four k a warp, for the same reasons
//
// Where shared memory is [x][k] with DEPTH = STRIDE = 32, lines of 128 bytes, it is as wgmma reads it: the 16 bytes
// at place c of line x lie at place c ^ x % 8 (the swizzle of 128 bytes; a stage begins at a multiple of 1024).
//
// k beyond the end becomes zero. x beyond the end repeats the last row (or column), which cannot be read
// amiss and only enters sums that are not stored: no predicate is needed for it.
//
// sm_80 and later copy asynchronously (cp.async); before that a stage waits in registers while the one
// before it is computed.
#pragma once

#define ASYNC_COPY (__CUDA_ARCH__ >= 800)

enum Movement { ACROSS, ALONG, TRANSPOSE, TURN };

template <Movement MOVEMENT, int X, int DEPTH, int STRIDE, int THREADS> struct Copier {
    static constexpr bool SINGLE = MOVEMENT == TRANSPOSE || MOVEMENT == TURN;
    static constexpr bool ROWS_OF_K = MOVEMENT == ALONG || MOVEMENT == TURN;  // in shared memory
    static constexpr bool DOWN_K = MOVEMENT == ACROSS || MOVEMENT == TURN;    // in global memory
    static constexpr bool SWIZZLED = ROWS_OF_K && STRIDE == DEPTH;
    static constexpr int WIDTH = SINGLE ? 1 : 4;  // floats a copy
    static constexpr int COPIES = X * DEPTH / WIDTH / THREADS;
    static constexpr int FLOATS = ROWS_OF_K ? X * STRIDE : DEPTH * STRIDE;
    // Copies that lie side by side in a line of memory: of ALONG and ACROSS.
    static constexpr int LINE = (MOVEMENT == ACROSS ? X : DEPTH) / 4;
    // ALONG: eight lines side by side, so that eight lanes write to all banks (STRIDE is 4 more than a
    // multiple of 8) and a warp still reads whole sectors.
    static constexpr int BLOCK = MOVEMENT == ACROSS ? LINE : 8 * LINE;
    // Single floats: x and k of a warp's copy.
    static constexpr int WARP_X = MOVEMENT == TURN ? 8 : 4, WARP_K = 32 / WARP_X;
    // Distinct x of a thread's copies (k, where they lie ACROSS). From one to the next, so many x or k.
    static constexpr int ROW_STEP = SINGLE ? WARP_X * (THREADS / 32) : THREADS / LINE;
    static constexpr int ROWS = SINGLE ? X / ROW_STEP : COPIES;
    static_assert(COPIES * WIDTH * THREADS == X * DEPTH, "every thread makes as many copies");
    static_assert(SINGLE || THREADS % BLOCK == 0, "a thread's copies differ by constants");
    static_assert(MOVEMENT != TURN || SWIZZLED, "the exclusive or of a copy's place is that of the swizzle");
    static_assert(!SWIZZLED || (STRIDE == 32 && ROW_STEP % 8 == 0), "a thread's lines have the same swizzle");

    // Where a thread's copies lie is kept, not computed anew: in the loop of a stage each instruction that
    // does not multiply costs as much as one that does.
    const float *from;     // the first copy's, of the next stage
    unsigned int to;       // in a stage, of the first copy
    int left;              // of k, from the first copy of the next stage on
    unsigned int k_step;   // from stage to stage
    unsigned int stride;   // ACROSS, TURN: floats from a k to the next
    unsigned int row[ROWS];  // else: floats from the first copy to those of other x; 32 bits: 16 GiB of them
#if !ASYNC_COPY
    float waiting[COPIES * WIDTH];
#endif

    // `first` is the tile's first x, `extent` how many x the operand has. Stages begin at `k_first`, `k_step`
    // apart, and end at `k_end`.
    __device__ Copier(const float *operand, unsigned int stride, unsigned int first, unsigned int extent,
                      unsigned int k_first, unsigned int k_step, unsigned int k_end, unsigned int thread)
        : k_step(k_step), stride(stride)
    {
        const unsigned int x = MOVEMENT == TRANSPOSE ? thread / 32 * 4 + thread % 32 / 8
                               : MOVEMENT == TURN    ? thread / 32 * 8 + thread % 8
                               : MOVEMENT == ACROSS  ? thread % LINE * 4
                                                     : thread / BLOCK * 8 + thread % 8;
        const unsigned int own_k = MOVEMENT == TRANSPOSE ? thread % 8
                                   : MOVEMENT == TURN    ? thread % 32 / 8
                                   : MOVEMENT == ACROSS  ? thread / LINE
                                                         : thread / 8 % LINE * 4;
        // The last x, or group of four, that exists, counted from the tile's first.
        const unsigned int last = MOVEMENT == ACROSS ? (extent - 1 - first) & ~3u : extent - 1 - first;
        const unsigned int k = k_first + own_k;
        left = k_end - k;
        to = ROWS_OF_K ? x * STRIDE + (SWIZZLED ? own_k ^ x % 8 * 4 : own_k) : own_k * STRIDE + x;
        const unsigned int inside = min(x, last);
        from = operand + (DOWN_K ? first + (size_t)k * stride + inside : (size_t)(first + inside) * stride + k);
#pragma unroll
        for (int r = 0; r < ROWS; r++) row[r] = (min(x + r * ROW_STEP, last) - inside) * (DOWN_K ? 1 : stride);
    }

    // A copy's k, and its place in a stage, beside those of the thread's first.
    __device__ static constexpr int k_of(int copy)
    {
        return SINGLE ? copy / ROWS * WARP_K : MOVEMENT == ACROSS ? copy * ROW_STEP : 0;
    }
    __device__ static constexpr int place_of(int copy)
    {
        return MOVEMENT == TRANSPOSE ? k_of(copy) * STRIDE + copy % ROWS * ROW_STEP
                                     : copy % ROWS * ROW_STEP * STRIDE;
    }

    // Starts moving the next stage; what lies beyond the end of k becomes zero.
    __device__ void fetch(float *stage)
    {
#if ASYNC_COPY
        const unsigned int first = (unsigned int)__cvta_generic_to_shared(stage) + 4 * to;
#endif
#pragma unroll
        for (int copy = 0; copy < COPIES; copy++) {
            // Floats that exist; where none does, nothing is read.
            const int floats = MOVEMENT == ALONG ? min(max(left, 0), 4) : k_of(copy) < left ? WIDTH : 0;
            const float *source = MOVEMENT == ACROSS ? from + (size_t)k_of(copy) * stride
                                  : MOVEMENT == TURN ? from + (size_t)k_of(copy) * stride + row[copy % ROWS]
                                                     : from + row[copy % ROWS] + k_of(copy);
#if ASYNC_COPY
            const unsigned int target = (MOVEMENT == TURN ? first ^ 4 * k_of(copy) : first) + 4 * place_of(copy);
            if (WIDTH == 4) {
                asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(target), "l"(source), "r"(4 * floats)
                             : "memory");
            } else {
                asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(target), "l"(source), "r"(4 * floats)
                             : "memory");
            }
#else
#pragma unroll
            for (int f = 0; f < WIDTH; f++) waiting[copy * WIDTH + f] = 0.0f;
            if (floats > 0) {
                if (WIDTH == 4) {
                    const float4 four = *(const float4 *)source;
                    waiting[copy * WIDTH] = four.x;
                    waiting[copy * WIDTH + 1 % WIDTH] = four.y;
                    waiting[copy * WIDTH + 2 % WIDTH] = four.z;
                    waiting[copy * WIDTH + 3 % WIDTH] = four.w;
                } else {
                    waiting[copy] = *source;
                }
            }
#endif
        }
        from += DOWN_K ? (size_t)k_step * stride : k_step;
        left -= k_step;
    }

#if !ASYNC_COPY
    // Puts what was fetched into shared memory.
    __device__ void put(float *stage) const
    {
#pragma unroll
        for (int copy = 0; copy < COPIES; copy++) {
            const float *values = waiting + copy * WIDTH;
            float *target = stage + to + place_of(copy);
            if (WIDTH == 4)
                *(float4 *)target = make_float4(values[0], values[1 % WIDTH], values[2 % WIDTH], values[3 % WIDTH]);
            else
                *target = values[0];
        }
    }
#endif
};
