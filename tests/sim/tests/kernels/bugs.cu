// Planted bugs: one a kernel, on the line that ends in `// BUG name`; a race has two such lines.

extern "C" __global__ void global_read_past_end(const float* in, float* out, int n) {
    int i = threadIdx.x;
    out[i] = in[i + 1]; // BUG global_read_past_end
}

extern "C" __global__ void global_write_past_end(float* out, int n) {
    if (threadIdx.x <= n)
        out[threadIdx.x] = 1; // BUG global_write_past_end
}

extern "C" __global__ void wild_pointer(float* out, int n) {
    float* far = (float*)((unsigned long long)out ^ 0x7000000000ull);
    *far = 1; // BUG wild_pointer
}

extern "C" __global__ void shared_read_past_end(float* out, int n) {
    __shared__ float s[32];
    s[threadIdx.x] = threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = s[threadIdx.x + n]; // BUG shared_read_past_end
}

extern "C" __global__ void shared_write_past_end(float* out, int n) {
    extern __shared__ float s[];
    s[threadIdx.x + n] = threadIdx.x; // BUG shared_write_past_end
    __syncthreads();
    out[threadIdx.x] = s[n];
}

extern "C" __global__ void local_past_end(int* out, int n) {
    int a[8];
    for (int i = 0; i < 8; i++) a[i] = out[i];
    out[threadIdx.x] = a[n]; // BUG local_past_end
}

extern "C" __global__ void freed(const float* in, float* out, int n) {
    out[threadIdx.x] = in[threadIdx.x]; // BUG freed
}

extern "C" __global__ void global_unwritten(const float* in, float* out, int n) {
    out[threadIdx.x] = in[threadIdx.x] + 1; // BUG global_unwritten
}

extern "C" __global__ void shared_unwritten(float* out, int n) {
    __shared__ float s[64];
    if (threadIdx.x < 31) s[threadIdx.x] = 1;
    __syncthreads();
    out[threadIdx.x] = s[threadIdx.x]; // BUG shared_unwritten
}

extern "C" __global__ void local_unwritten(int* out, int n) {
    int a[8];
    for (int i = 0; i < n; i++) a[i] = i + out[0];
    out[threadIdx.x] = a[n]; // BUG local_unwritten
}

extern "C" __global__ void register_unwritten(float* out, int n) {
    float sum;
    asm volatile("{ .reg .f32 t; add.f32 %0, t, t; }" : "=f"(sum)); // BUG register_unwritten
    out[threadIdx.x] = sum;
}

// The upper half of the warp never sets its term, copies it and adds the copy.
extern "C" __global__ void register_of_some_lanes(float* out, int n) {
    float sum;
    asm volatile("{ .reg .f32 s, t; .reg .pred p; setp.lt.u32 p, %1, 16; @p mov.f32 s, 0f3F800000;"
                 " mov.f32 t, s; add.f32 %0, t, t; }" : "=f"(sum) : "r"(threadIdx.x)); // BUG register_of_some_lanes
    out[threadIdx.x] = sum;
}

extern "C" __global__ void predicate_unwritten(int* out, int n) {
    asm volatile("{ .reg .pred p; @p trap; }"); // BUG predicate_unwritten
    out[threadIdx.x] = n;
}

extern "C" __global__ void shared_race(float* out, int n) {
    __shared__ float s[64];
    s[threadIdx.x] = 0;
    __syncthreads();
    s[threadIdx.x] = threadIdx.x; // BUG shared_race
    // __syncthreads() is missing here.
    out[threadIdx.x] = s[63 - threadIdx.x]; // BUG shared_race
}

extern "C" __global__ void warp_race(float* out, int n) {
    __shared__ float s[32];
    s[threadIdx.x] = threadIdx.x;
    // __syncwarp() is missing here.
    out[threadIdx.x] = s[31 - threadIdx.x]; // BUG warp_race
}

// The second round overwrites what others may still read.
extern "C" __global__ void shared_overwritten(float* out, int n) {
    __shared__ float s[64];
    for (int round = 0; round < n; round++) {
        s[threadIdx.x] = threadIdx.x + round; // BUG shared_overwritten
        __syncthreads();
        out[threadIdx.x] = s[63 - threadIdx.x]; // BUG shared_overwritten
    }
}

extern "C" __global__ void blocks_race(int* out, int n) {
    if (threadIdx.x == 0) out[0] = blockIdx.x + 1; // BUG blocks_race
}

// All blocks read what the last one writes: the last of the readers is the writer itself.
extern "C" __global__ void many_read_one_writes(int* out, int n) {
    if (threadIdx.x > 0) return;
    int seen = out[0];
    out[1 + blockIdx.x] = seen;
    if (blockIdx.x == gridDim.x - 1) out[0] = seen + 1; // BUG many_read_one_writes
}

// The writer waits for one of the readers, and not for the others.
extern "C" __global__ void writer_waits_for_one_reader(int* out, int n) {
    if (threadIdx.x > 0) return;
    int seen = out[0];
    if (blockIdx.x == 1) {
        __threadfence();
        atomicExch(out + 1, 1);
    }
    if (blockIdx.x == 2) {
        while (atomicAdd(out + 1, 0) == 0) __nanosleep(20);
        __threadfence();
        out[0] = seen + 1; // BUG writer_waits_for_one_reader
    } else {
        out[2 + blockIdx.x] = seen;
    }
}

extern "C" __global__ void sum_without_atomics(int* out, int n) {
    if (threadIdx.x == 0) out[0] += 1; // BUG sum_without_atomics
}

extern "C" __global__ void threads_race(int* out, int n) {
    out[threadIdx.x] = threadIdx.x; // BUG threads_race
    out[64 + threadIdx.x] = out[63 - threadIdx.x]; // BUG threads_race
}

// Block 0 waits for the flag of block 1, which is raised without a fence.
extern "C" __global__ void flag_without_fence(int* out, int n) {
    volatile int* flag = out + 1;
    if (threadIdx.x == 0 && blockIdx.x == 1) {
        out[0] = 42;
        *flag = 1;
    }
    if (threadIdx.x == 0 && blockIdx.x == 0) {
        while (*flag == 0) __nanosleep(20);
        out[2] = out[0]; // BUG flag_without_fence
    }
}

extern "C" __global__ void barrier_in_branch(int* out, int n) {
    if (threadIdx.x < n) __syncthreads(); // BUG barrier_in_branch
    out[threadIdx.x] = 1;
}

extern "C" __global__ void barrier_after_exit(int* out, int n) {
    if (threadIdx.x >= 32) return;
    out[threadIdx.x] = 1;
    __syncthreads(); // BUG barrier_after_exit
    out[threadIdx.x + 64] = 1;
}

extern "C" __global__ void shuffle_with_absent_lanes(int* out, int n) {
    int v = threadIdx.x;
    if (threadIdx.x < n)
        v += __shfl_xor_sync(0xffffffffu, v, 1); // BUG shuffle_with_absent_lanes
    out[threadIdx.x] = v;
}

extern "C" __global__ void vote_with_absent_lanes(int* out, int n) {
    if (threadIdx.x < n)
        out[threadIdx.x] = __ballot_sync(0xffffffffu, threadIdx.x & 1); // BUG vote_with_absent_lanes
}

extern "C" __global__ void misaligned(float* out, int n) {
    *(float4*)(out + 1) = make_float4(1, 2, 3, 4); // BUG misaligned
}

extern "C" __global__ void fails_assertion(int* out, int n) {
    if (n == 32)
        __trap(); // BUG fails_assertion
    out[threadIdx.x] = 1;
}

#if __CUDA_ARCH__ >= 800
extern "C" __global__ void copy_without_wait(const float* in, float* out, int n) {
    __shared__ __align__(16) float s[128];
    unsigned to = (unsigned)__cvta_generic_to_shared(s) + threadIdx.x * 16;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" :: "r"(to), "l"(in + 4 * threadIdx.x) : "memory");
    asm volatile("cp.async.commit_group;" ::: "memory");
    asm volatile("cp.async.wait_group 1;" ::: "memory");
    __syncthreads();
    out[threadIdx.x] = s[4 * threadIdx.x]; // BUG copy_without_wait
}

extern "C" __global__ void copy_without_barrier(const float* in, float* out, int n) {
    __shared__ __align__(16) float s[128];
    unsigned to = (unsigned)__cvta_generic_to_shared(s) + threadIdx.x * 16;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" :: "r"(to), "l"(in + 4 * threadIdx.x) : "memory");
    asm volatile("cp.async.commit_group;" ::: "memory");
    asm volatile("cp.async.wait_group 0;" ::: "memory");
    out[threadIdx.x] = s[4 * (31 - threadIdx.x)]; // BUG copy_without_barrier
}

extern "C" __global__ void copy_past_end(const float* in, float* out, int n) {
    __shared__ __align__(16) float s[128];
    unsigned to = (unsigned)__cvta_generic_to_shared(s) + threadIdx.x * 16;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" :: "r"(to), "l"(in + 4 * threadIdx.x + 4) : "memory"); // BUG copy_past_end
    asm volatile("cp.async.wait_all;" ::: "memory");
    out[threadIdx.x] = s[4 * threadIdx.x];
}
#endif

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
// The sums of a warpgroup's 64 x 8 product, of ones in registers with eight lines of shared memory, swizzled.
#define PRODUCT                                                                                            \
    asm volatile("wgmma.mma_async.sync.aligned.m64n8k8.f32.tf32.tf32 {%0, %1, %2, %3}, {%4, %4, %4, %4}, %5, 1, 1, 1;" \
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(one), "l"(lines))
#define FENCE asm volatile("wgmma.fence.sync.aligned;" ::: "memory")
#define PROXY_FENCE asm volatile("fence.proxy.async.shared::cta;" ::: "memory")
#define COMMIT asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory")
#define WAIT asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory")

__device__ unsigned long long lines_at(const float* s) {
    return (unsigned)__cvta_generic_to_shared(s) / 16 | 64ull << 32 | 1ull << 62;
}

// The first sum, a factor, ones in shared memory, and the lines of it from `FROM` on.
#define SET_UP(FIRST, FROM)                                                                                \
    __shared__ __align__(1024) float s[512];                                                               \
    float d[4] = {FIRST, 0, 0, 0};                                                                         \
    unsigned one = 0x3f800000;                                                                             \
    for (unsigned i = threadIdx.x; i < 512; i += blockDim.x) s[i] = 1;                                     \
    const unsigned long long lines = lines_at(s + FROM)
#define FINISH                                                                                             \
    COMMIT;                                                                                                \
    WAIT;                                                                                                  \
    out[threadIdx.x] = d[0]

extern "C" __global__ void product_without_fence(float* out, int n) {
    SET_UP(out[0] + 1, 0);
    PROXY_FENCE;
    __syncthreads();
    PRODUCT; // BUG product_without_fence
    FINISH;
}

extern "C" __global__ void product_without_proxy_fence(float* out, int n) {
    SET_UP(0, 0);
    __syncthreads();
    FENCE;
    PRODUCT; // BUG product_without_proxy_fence
    FINISH;
}

extern "C" __global__ void product_without_wait(float* out, int n) {
    SET_UP(0, 0);
    PROXY_FENCE;
    __syncthreads();
    FENCE;
    PRODUCT;
    COMMIT;
    asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
    out[threadIdx.x] = d[0]; // BUG product_without_wait
}

extern "C" __global__ void product_of_what_changes(float* out, int n) {
    SET_UP(0, 0);
    PROXY_FENCE;
    __syncthreads();
    FENCE;
    asm volatile("wgmma.mma_async.sync.aligned.m64n8k8.f32.tf32.tf32 {%0, %1, %2, %3}, {%4, %4, %4, %4}, %5, 1, 1, 1;"
                 "add.u32 %4, %4, 1;" : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+r"(one) : "l"(lines)); // BUG product_of_what_changes
    FINISH;
}

extern "C" __global__ void product_of_overwritten_lines(float* out, int n) {
    SET_UP(0, 0);
    PROXY_FENCE;
    __syncthreads();
    FENCE;
    PRODUCT; // BUG product_of_overwritten_lines
    COMMIT;
    __syncthreads();
    s[threadIdx.x] = 2;
    WAIT; // BUG product_of_overwritten_lines
    out[threadIdx.x] = d[0];
}

extern "C" __global__ void product_of_shifted_lines(float* out, int n) {
    SET_UP(0, 32);
    PROXY_FENCE;
    __syncthreads();
    FENCE;
    PRODUCT; // BUG product_of_shifted_lines
    FINISH;
}

extern "C" __global__ void product_of_half_a_group(float* out, int n) {
    SET_UP(0, 0);
    FENCE;
    PRODUCT; // BUG product_of_half_a_group
    FINISH;
}
#endif
