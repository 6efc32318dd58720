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
//
// k beyond the end becomes zero. x beyond the end repeats the last row (or column), which cannot be read
// amiss and only enters sums that are not stored: no predicate is needed for it.
//
// sm_80 and later copy asynchronously (cp.async); before that a stage waits in registers while the one
// before it is computed.
#pragma once

#define ASYNC_COPY (__CUDA_ARCH__ >= 800)

enum Movement { ACROSS, ALONG, TRANSPOSE };

template <Movement MOVEMENT, int X, int DEPTH, int STRIDE, int THREADS> struct Copier {
    static constexpr int WIDTH = MOVEMENT == TRANSPOSE ? 1 : 4;  // floats a copy
    static constexpr int COPIES = X * DEPTH / WIDTH / THREADS;
    static constexpr int FLOATS = MOVEMENT == ALONG ? X * STRIDE : DEPTH * STRIDE;
    static_assert(COPIES * WIDTH * THREADS == X * DEPTH, "every thread makes as many copies");

    const float *base;
    unsigned int stride;        // leading dimension in global memory
    unsigned int x_last;        // the last x, or group of four, that exists, counted from the tile's first
    unsigned int thread;        // in the group
#if !ASYNC_COPY
    float waiting[COPIES * WIDTH];
#endif

    // `first` is the tile's first x, `extent` how many x the operand has.
    __device__ Copier(const float *operand, unsigned int stride, unsigned int first, unsigned int extent,
                      unsigned int thread)
        : base(operand + (MOVEMENT == ACROSS ? first : (size_t)first * stride)), stride(stride),
          x_last(MOVEMENT == ACROSS ? (extent - 1 - first) & ~3u : extent - 1 - first), thread(thread)
    {
    }

    // Place of copy `i` in the stage.
    __device__ void place(int i, unsigned int &x, unsigned int &k) const
    {
        if (MOVEMENT == TRANSPOSE) {
            constexpr int WARPS = THREADS / 32, ROUNDS = X / (4 * WARPS);
            x = thread / 32 * 4 + thread % 32 / 8 + i % ROUNDS * 4 * WARPS;
            k = thread % 8 + i / ROUNDS * 8;
        } else {
            // ALONG: eight lines side by side, so that eight lanes write to all banks (STRIDE is 4 more
            // than a multiple of 8) and a warp still reads whole sectors.
            constexpr int LINE = (MOVEMENT == ACROSS ? X : DEPTH) / 4;  // copies a line of memory
            const unsigned int copy = thread + i * THREADS;
            x = MOVEMENT == ACROSS ? copy % LINE * 4 : copy / (8 * LINE) * 8 + copy % 8;
            k = MOVEMENT == ACROSS ? copy / LINE : copy / 8 % LINE * 4;
        }
    }

    // 32 bits: an operand of 16 GiB, and half the registers of pointers.
    __device__ const float *source(unsigned int x, unsigned int k) const
    {
        const unsigned int inside = min(x, x_last);
        return base + (MOVEMENT == ACROSS ? k * stride + inside : inside * stride + k);
    }

    // Floats of a copy at `k` that exist.
    __device__ static int existing(unsigned int k, unsigned int k_end)
    {
        if (MOVEMENT == ALONG) return min(max((int)(k_end - k), 0), 4);
        return k < k_end ? WIDTH : 0;
    }

    __device__ static unsigned int target(unsigned int x, unsigned int k)
    {
        return MOVEMENT == ALONG ? x * STRIDE + k : k * STRIDE + x;
    }

    // Starts moving k_first .. k_first + DEPTH; what lies beyond `k_end` becomes zero.
    __device__ void fetch(float *stage, unsigned int k_first, unsigned int k_end)
    {
#pragma unroll
        for (int i = 0; i < COPIES; i++) {
            unsigned int x, k;
            place(i, x, k);
            const int floats = existing(k_first + k, k_end);
            const float *from = source(x, k_first + k);  // not read where nothing exists
#if ASYNC_COPY
            const unsigned int to = (unsigned int)__cvta_generic_to_shared(stage + target(x, k));
            if (WIDTH == 4) {
                asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
                             "r"(4 * floats)
                             : "memory");
            } else {
                asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from),
                             "r"(4 * floats)
                             : "memory");
            }
#else
#pragma unroll
            for (int f = 0; f < WIDTH; f++) waiting[i * WIDTH + f] = 0.0f;
            if (floats > 0) {
                if (WIDTH == 4) {
                    const float4 four = *(const float4 *)from;
                    waiting[i * WIDTH] = four.x;
                    waiting[i * WIDTH + 1 % WIDTH] = four.y;
                    waiting[i * WIDTH + 2 % WIDTH] = four.z;
                    waiting[i * WIDTH + 3 % WIDTH] = four.w;
                } else {
                    waiting[i] = *from;
                }
            }
#endif
        }
    }

#if !ASYNC_COPY
    // Puts what was fetched into shared memory.
    __device__ void put(float *stage) const
    {
#pragma unroll
        for (int i = 0; i < COPIES; i++) {
            unsigned int x, k;
            place(i, x, k);
            const float *from = waiting + i * WIDTH;
            if (WIDTH == 4) {
                *(float4 *)(stage + target(x, k)) =
                    make_float4(from[0], from[1 % WIDTH], from[2 % WIDTH], from[3 % WIDTH]);
            } else {
                stage[target(x, k)] = from[0];
            }
        }
    }
#endif
};
