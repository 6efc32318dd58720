// The skeleton of every GEMM kernel: what is the same on the ordinary cores and on the tensor cores.
//
// A block computes one M x N tile of C. Its warps form SLICES groups; group g sums the pieces
// g, g + SLICES, ... of the reduced dimension, DEPTH each, through a pipeline of STAGES stages of its own
// in shared memory. In the end the groups' sums are added in the order of their numbers, so a tile's bits
// depend on the problem's shape alone. Large tiles have one group of many warps (barriers are the block's);
// small ones have groups of one warp (barriers are the warp's), because a tile of 16 x 16 has too few
// multiply-adds to occupy a multiprocessor otherwise.
//
// A Core multiplies two stages into a thread's sums; it has
//   Tile, A_MOVEMENT, A_STRIDE, B_MOVEMENT, B_STRIDE   how it wants its operands in shared memory
//   multiply(a, b)                                     adds one stage
//   put(sums), SUMS_STRIDE                             writes the warp's WARP_M x WARP_N sums, row-major
#pragma once
#include "gemm_copy.cuh"
#include "gemm_sums.cuh"
#include "layout.cuh"

// What the host checks its own structs against when it loads a module.
extern "C" __device__ const unsigned int Step_layout[] = {sizeof(Step), offsetof(Step, rows),
                                                          offsetof(Step, training), offsetof(Step, before)};
extern "C" __device__ const unsigned int Dropout_layout[] = {
    sizeof(Dropout),          offsetof(Dropout, seed),        offsetof(Dropout, trial),
    offsetof(Dropout, purpose), offsetof(Dropout, probability), offsetof(Dropout, units)};
extern "C" __device__ const unsigned int Rule_layout[] = {
    sizeof(Rule), offsetof(Rule, learning_rate), offsetof(Rule, momentum), offsetof(Rule, weight_decay),
    offsetof(Rule, nesterov)};
extern "C" __device__ const unsigned int GemmProblem_layout[] = {
    sizeof(GemmProblem),        offsetof(GemmProblem, a),        offsetof(GemmProblem, b),
    offsetof(GemmProblem, c),    offsetof(GemmProblem, bias),     offsetof(GemmProblem, z),
    offsetof(GemmProblem, rule), offsetof(GemmProblem, velocity), offsetof(GemmProblem, step),
    offsetof(GemmProblem, dropout), offsetof(GemmProblem, m),     offsetof(GemmProblem, n),
    offsetof(GemmProblem, k),    offsetof(GemmProblem, lda),      offsetof(GemmProblem, ldb),
    offsetof(GemmProblem, ldc),  offsetof(GemmProblem, activation), offsetof(GemmProblem, pad)};
extern "C" __device__ const unsigned int GemmTile_layout[] = {
    sizeof(GemmTile), offsetof(GemmTile, problem), offsetof(GemmTile, tile_m), offsetof(GemmTile, tile_n),
    offsetof(GemmTile, pad)};

template <int M_, int N_, int DEPTH_, int STAGES_, int WARPS_M_, int WARPS_N_, int SLICES_> struct Tile {
    static constexpr int M = M_, N = N_, DEPTH = DEPTH_, STAGES = ASYNC_COPY ? STAGES_ : 2;
    static constexpr int WARPS_M = WARPS_M_, WARPS_N = WARPS_N_, SLICES = SLICES_;
    static constexpr int WARP_M = M / WARPS_M, WARP_N = N / WARPS_N;
    static constexpr int GROUP = 32 * WARPS_M * WARPS_N;  // threads of a slice
    static constexpr int THREADS = GROUP * SLICES;
    static_assert(SLICES == 1 || GROUP == 32, "a barrier is the block's or the warp's");
};

template <class T> __device__ inline void group_barrier()
{
    if (T::SLICES == 1)
        __syncthreads();
    else
        __syncwarp();
}

// Adds a group's pieces of k into its core's sums.
template <class Core, class A, class B>
__device__ inline void sum_pieces(Core &core, A &a, B &b, float *stages, unsigned int slice, unsigned int k)
{
    using T = typename Core::Tile;
    constexpr int STAGE = A::FLOATS + B::FLOATS;
    const unsigned int all = (k + T::DEPTH - 1) / T::DEPTH;
    const unsigned int pieces = all > slice ? (all - slice + T::SLICES - 1) / T::SLICES : 0;
    auto fetch = [&](float *stage) {
        a.fetch(stage);
        b.fetch(stage + A::FLOATS);
    };
#if ASYNC_COPY
    // Pieces beyond the end are fetched like others, and read nothing: that costs less than to ask.
#pragma unroll
    for (int piece = 0; piece < T::STAGES - 1; piece++) {
        fetch(stages + piece * STAGE);
        asm volatile("cp.async.commit_group;" ::: "memory");
    }
    // Two stages take turns by an exclusive or, which needs the fewest registers of all ways tried.
    const auto before = [](unsigned int stage) {
        return T::STAGES == 2 ? stage ^ STAGE : stage == 0 ? (T::STAGES - 1) * STAGE : stage - STAGE;
    };
    const auto after = [](unsigned int stage) {
        return T::STAGES == 2 ? stage ^ STAGE : stage == (T::STAGES - 1) * STAGE ? 0 : stage + STAGE;
    };
    unsigned int stage = 0;
#pragma unroll 1
    for (unsigned int left = pieces; left > 0; left--) {
        asm volatile("cp.async.wait_group %0;" ::"n"(T::STAGES - 2) : "memory");
        // Now this piece is here for all, and all are done with the stage that is written next.
        group_barrier<T>();
        fetch(stages + before(stage));
        asm volatile("cp.async.commit_group;" ::: "memory");
        const float *const here = stages + stage;
        core.multiply(here, here + A::FLOATS);
        stage = after(stage);
    }
    asm volatile("cp.async.wait_group 0;" ::: "memory");
#else
    if (pieces > 0) {
        fetch(stages);
        a.put(stages);
        b.put(stages + A::FLOATS);
    }
    group_barrier<T>();
#pragma unroll 1
    for (unsigned int piece = 0; piece < pieces; piece++) {
        const float *stage = stages + piece % 2 * STAGE;
        float *next = stages + (piece + 1) % 2 * STAGE;
        const bool more = piece + 1 < pieces;
        if (more) fetch(next);
        core.multiply(stage, stage + A::FLOATS);
        if (more) {
            a.put(next);
            b.put(next + A::FLOATS);
        }
        group_barrier<T>();
    }
#endif
}

// What a core's block needs of shared memory: its pipeline, and then its sums in the same place.
template <class Core> struct Memory {
    using T = typename Core::Tile;
    using A = Copier<Core::A_MOVEMENT, T::M, T::DEPTH, Core::A_STRIDE, T::GROUP>;
    using B = Copier<Core::B_MOVEMENT, T::N, T::DEPTH, Core::B_STRIDE, T::GROUP>;
    static constexpr int PIPELINE = T::SLICES * T::STAGES * (A::FLOATS + B::FLOATS);
    static constexpr int SUMS = T::SLICES * T::WARP_M * Core::SUMS_STRIDE;
    static constexpr unsigned int BYTES = 4 * (PIPELINE > SUMS ? PIPELINE : SUMS);
};

template <Product PRODUCT, class Core>
__device__ inline void gemm(const GemmProblem *__restrict__ problems, const GemmTile *__restrict__ tiles)
{
    using T = typename Core::Tile;
    using A = typename Memory<Core>::A;
    using B = typename Memory<Core>::B;
    extern __shared__ __align__(1024) float4 shared[];  // what wgmma reads begins at a multiple of that
    float *const memory = (float *)shared;

    const GemmTile tile = tiles[blockIdx.x];
    const GemmProblem &problem = problems[tile.problem];
    unsigned int m = problem.m, k = problem.k;
    if (problem.step) {
        const unsigned int rows = problem.step->rows;
        if (rows == 0) return;
        if (PRODUCT == WEIGHT_GRADIENT)
            k = min(k, rows);
        else
            m = min(m, rows);
    }
    const unsigned int first_m = tile.tile_m * T::M, first_n = tile.tile_n * T::N, n = problem.n;
    if (first_m >= m || first_n >= n) return;

    const unsigned int slice = threadIdx.x / T::GROUP, thread = threadIdx.x % T::GROUP;
    const unsigned int warp = thread / 32, warp_m = warp / T::WARPS_N, warp_n = warp % T::WARPS_N;
    Core core(warp_m * T::WARP_M, warp_n * T::WARP_N, thread % 32);
    {
        constexpr unsigned int STEP = T::SLICES * T::DEPTH;
        A a(problem.a, problem.lda, first_m, m, slice * T::DEPTH, STEP, k, thread);
        B b(problem.b, problem.ldb, first_n, n, slice * T::DEPTH, STEP, k, thread);
        sum_pieces(core, a, b, memory + slice * T::STAGES * (A::FLOATS + B::FLOATS), slice, k);
    }

    // One row of warps after another puts its sums into shared memory, from where all threads take them: a
    // store is 16 bytes a thread and the epilogue's code stands here once.
#pragma unroll 1
    for (unsigned int turn = 0; turn < T::WARPS_M; turn++) {
        __syncthreads();
        if (warp_m == turn) core.put(memory + slice * T::WARP_M * Core::SUMS_STRIDE + warp_n * T::WARP_N);
        __syncthreads();
        finish_strip<PRODUCT, Core>(problem, Strip{first_m + turn * T::WARP_M, first_n, m, n}, memory);
    }
}

// A kernel, and what the host launches it with: {threads of a block, bytes of its shared memory}. BLOCKS is how
// many a multiprocessor should hold.
#define GEMM_KERNEL(NAME, PRODUCT, BLOCKS, ...)                                                            \
    extern "C" __device__ const unsigned int NAME##_block[] = {__VA_ARGS__::Tile::THREADS,                 \
                                                               Memory<__VA_ARGS__>::BYTES};                \
    extern "C" __global__ void __launch_bounds__(__VA_ARGS__::Tile::THREADS, BLOCKS)                       \
    NAME(const GemmProblem *problems, const GemmTile *tiles)                                               \
    {                                                                                                      \
        gemm<PRODUCT, __VA_ARGS__>(problems, tiles);                                                       \
    }
