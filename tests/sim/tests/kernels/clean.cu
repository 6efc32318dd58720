// Kernels without fault: they must raise nothing and give the right values.

extern "C" __global__ void vector_add(const float* a, const float* b, float* c, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    c[i] = a[i] + b[i];
}

extern "C" __global__ void reduce(const float* in, float* out, int n) {
    __shared__ float partial[32];
    float sum = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) sum += in[blockIdx.x * n + i];
    for (int offset = 16; offset; offset >>= 1) sum += __shfl_down_sync(0xffffffffu, sum, offset);
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x < 32) {
        sum = threadIdx.x < blockDim.x / 32 ? partial[threadIdx.x] : 0;
        for (int offset = 16; offset; offset >>= 1) sum += __shfl_down_sync(0xffffffffu, sum, offset);
        if (threadIdx.x == 0) out[blockIdx.x] = sum;
    }
}

// A warp exchanges through shared memory, with bar.warp.sync alone between.
extern "C" __global__ void warp_exchange(int* out) {
    __shared__ int lanes[32];
    for (int round = 0; round < 3; round++) {
        lanes[threadIdx.x] = threadIdx.x + round;
        __syncwarp();
        out[threadIdx.x] = lanes[31 - threadIdx.x];
        __syncwarp();
    }
}

// C = A B, row-major, n a multiple of 16; 16 x 16 threads as a line of 256.
extern "C" __global__ void __launch_bounds__(256) gemm(const float* a, const float* b, float* c, int n) {
    extern __shared__ float tile[];
    float (*as)[16] = (float (*)[16])tile;
    float (*bs)[16] = (float (*)[16])(tile + 256);
    int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    int tiles = n / 16, row = blockIdx.x / tiles * 16 + ty, col = blockIdx.x % tiles * 16 + tx;
    float sum = 0;
    for (int k = 0; k < n; k += 16) {
        as[ty][tx] = a[row * n + k + tx];
        bs[ty][tx] = b[(k + ty) * n + col];
        __syncthreads();
        for (int i = 0; i < 16; i++) sum += as[ty][i] * bs[i][tx];
        __syncthreads();
    }
    c[row * n + col] = sum;
}

__device__ unsigned ticket;
__device__ unsigned arrived;

// Blocks take work from a queue until it is empty; then all wait for each other.
extern "C" __global__ void queue(unsigned* done, unsigned work, unsigned* total) {
    __shared__ unsigned mine;
    for (;;) {
        if (threadIdx.x == 0) mine = atomicAdd(&ticket, 1);
        __syncthreads();
        unsigned item = mine;
        __syncthreads();
        if (item >= work) break;
        if (threadIdx.x == 0) done[item] = item * item;
    }
    if (threadIdx.x == 0) {
        __threadfence();
        atomicAdd(&arrived, 1);
        while (*(volatile unsigned*)&arrived < gridDim.x) __nanosleep(20);
        __threadfence();
        if (blockIdx.x == 0) {
            unsigned sum = 0;
            for (unsigned i = 0; i < work; i++) sum += done[i];
            *total = sum;
        }
    }
}

// Philox4x32-10: counter (i, 0, 0, 0), key (0, 0).
extern "C" __global__ void philox(uint4* out, unsigned key) {
    unsigned c0 = threadIdx.x, c1 = 0, c2 = 0, c3 = 0, k0 = key, k1 = 0;
    for (int round = 0; round < 10; round++) {
        unsigned h0 = __umulhi(0xD2511F53u, c0), l0 = 0xD2511F53u * c0;
        unsigned h1 = __umulhi(0xCD9E8D57u, c2), l1 = 0xCD9E8D57u * c2;
        c0 = h1 ^ c1 ^ k0; c1 = l1; c2 = h0 ^ c3 ^ k1; c3 = l0;
        k0 += 0x9E3779B9u; k1 += 0xBB67AE85u;
    }
    out[threadIdx.x] = make_uint4(c0, c1, c2, c3);
}

extern "C" __global__ void functions(const float* in, float* out, int n) {
    int i = threadIdx.x;
    float x = in[i];
    out[i] = erff(x); out[n + i] = expf(x); out[2 * n + i] = tanhf(x); out[3 * n + i] = logf(fabsf(x) + 0.1f);
    out[4 * n + i] = sinf(x); out[5 * n + i] = x / 3.0f; out[6 * n + i] = sqrtf(fabsf(x));
    out[7 * n + i] = (float)sin((double)x * 1e6);
}

// Threads that leave early, loops that end apart, a switch: the rest must meet again.
extern "C" __global__ void divergence(int* out, int n) {
    int i = threadIdx.x;
    if (i >= n) return;
    int steps = 0;
    for (int x = i + 1; x != 1; steps++) x = x % 2 ? 3 * x + 1 : x / 2;
    switch (i % 5) {
        case 0: steps += 100; break;
        case 1: steps *= 2; break;
        case 2: if (i % 3 == 0) { out[i] = -1; return; } steps += 7; break;
        case 3: steps -= 1; break;
        default: steps = -steps;
    }
    out[i] = steps;
}

__device__ unsigned ended;

// The block that ends last adds up what all have left, after a fence and an atomic.
extern "C" __global__ void last_block(const float* in, float* parts, float* out) {
    __shared__ float s[64];
    __shared__ bool last;
    s[threadIdx.x] = in[blockIdx.x * 64 + threadIdx.x];
    __syncthreads();
    for (int half = 32; half; half >>= 1) {
        if (threadIdx.x < half) s[threadIdx.x] += s[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        parts[blockIdx.x] = s[0];
        __threadfence();
        last = atomicInc(&ended, gridDim.x - 1) == gridDim.x - 1;
    }
    __syncthreads();
    if (last && threadIdx.x == 0) {
        float sum = 0;
        for (int i = 0; i < gridDim.x; i++) sum += parts[i];
        *out = sum;
    }
}

// Threads write bytes beside each other, and count by atomics in shared and global memory.
extern "C" __global__ void histogram(const unsigned char* in, unsigned char* copy, unsigned* bins) {
    __shared__ unsigned mine[16];
    if (threadIdx.x < 16) mine[threadIdx.x] = 0;
    __syncthreads();
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    copy[i] = in[i];
    atomicAdd(&mine[in[i] % 16], 1);
    __syncthreads();
    if (threadIdx.x < 16) atomicAdd(&bins[threadIdx.x], mine[threadIdx.x]);
}

// Lanes with the same value find each other.
extern "C" __global__ void matching(const unsigned* in, unsigned* out) {
    unsigned value = in[threadIdx.x];
    out[threadIdx.x] = __match_any_sync(0xffffffffu, value);
    out[32 + threadIdx.x] = __ballot_sync(0xffffffffu, value & 1);
    if (threadIdx.x < 16) out[64 + threadIdx.x] = __shfl_sync(0x0000ffffu, value, 15 - threadIdx.x);
}

// The 8 x 8 matrix of 16-bit numbers s[row][column], plain and transposed.
extern "C" __global__ void matrix_rows(unsigned* out) {
    __shared__ __align__(16) unsigned short s[64];
    s[threadIdx.x] = threadIdx.x;
    s[threadIdx.x + 32] = threadIdx.x + 32;
    __syncwarp();
    unsigned at = (unsigned)__cvta_generic_to_shared(s) + threadIdx.x % 8 * 16, plain, turned;
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(plain) : "r"(at));
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];" : "=r"(turned) : "r"(at));
    out[threadIdx.x] = plain;
    out[32 + threadIdx.x] = turned;
}

#if __CUDA_ARCH__ >= 800
// Two tiles in turn: one is read while the next is on its way.
extern "C" __global__ void double_buffer(const float* in, float* out, int tiles) {
    __shared__ __align__(16) float s[2][128];
    unsigned to = (unsigned)__cvta_generic_to_shared(s) + threadIdx.x * 16;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" :: "r"(to), "l"(in + 4 * threadIdx.x) : "memory");
    asm volatile("cp.async.commit_group;" ::: "memory");
    float sum = 0;
    for (int tile = 0; tile < tiles; tile++) {
        if (tile + 1 < tiles)
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" :: "r"(to + (tile + 1) % 2 * 512),
                         "l"(in + 128 * (tile + 1) + 4 * threadIdx.x) : "memory");
        asm volatile("cp.async.commit_group;" ::: "memory");
        asm volatile("cp.async.wait_group 1;" ::: "memory");
        __syncthreads();
        for (int i = 0; i < 128; i += 32) sum += s[tile % 2][i + (31 - threadIdx.x)];
        __syncthreads();
    }
    out[threadIdx.x] = sum;
}

#endif

// The last of the blocks that have read a value changes it; the next launch reads the new one.
extern "C" __global__ void last_reader_writes(int* value, unsigned* arrived, int* out) {
    if (threadIdx.x > 0) return;
    out[blockIdx.x] = *value;
    __threadfence();
    if (atomicAdd(arrived, 1) == gridDim.x - 1) {
        __threadfence();
        *value += 1;
        *arrived = 0;
    }
}

// A register that half of the lanes never set is copied by all and used by those that set it.
extern "C" __global__ void unset_copy(float* out) {
    float sum = 0;
    asm volatile("{ .reg .f32 s, t; .reg .pred p; setp.lt.u32 p, %1, 16; @p mov.f32 s, 0f3F800000;"
                 " mov.f32 t, s; @p add.f32 %0, t, t; }" : "+f"(sum) : "r"(threadIdx.x));
    out[threadIdx.x] = sum;
}

#if __CUDA_ARCH__ >= 800
// One 16 x 8 x 8 product in TF32, its operands brought by cp.async.
extern "C" __global__ void tensor(const float* a, const float* b, float* c) {
    __shared__ __align__(16) float as[16 * 8];
    __shared__ __align__(16) float bs[8 * 8];
    unsigned to_a = (unsigned)__cvta_generic_to_shared(as) + threadIdx.x * 16;
    unsigned to_b = (unsigned)__cvta_generic_to_shared(bs) + threadIdx.x * 16;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" :: "r"(to_a), "l"(a + 4 * threadIdx.x));
    asm volatile("cp.async.commit_group;");
    int size = threadIdx.x < 15 ? 16 : 0; // the last four of B are zeros
    if (threadIdx.x < 16)
        asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;" :: "r"(to_b), "l"(b + 4 * threadIdx.x), "r"(size));
    asm volatile("cp.async.commit_group;");
    asm volatile("cp.async.wait_group 0;" ::: "memory");
    __syncthreads();
    int g = threadIdx.x / 4, t = threadIdx.x % 4;
    float d[4] = {0, 0, 0, 0};
    unsigned a0 = __float_as_uint(as[g * 8 + t]), a1 = __float_as_uint(as[(g + 8) * 8 + t]);
    unsigned a2 = __float_as_uint(as[g * 8 + t + 4]), a3 = __float_as_uint(as[(g + 8) * 8 + t + 4]);
    unsigned b0 = __float_as_uint(bs[t * 8 + g]), b1 = __float_as_uint(bs[(t + 4) * 8 + g]);
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
    c[g * 8 + 2 * t] = d[0]; c[g * 8 + 2 * t + 1] = d[1];
    c[(g + 8) * 8 + 2 * t] = d[2]; c[(g + 8) * 8 + 2 * t + 1] = d[3];
}
#endif

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
// c (64 x 16) += a (64 x 24) times b (16 x 24) transposed, by one warpgroup: three products of eight k. Lines of b take
// 128 bytes in shared memory, of which the 16 at place p of line n lie at place p ^ n % 8.
extern "C" __global__ void group_product(const float* a, const float* b, float* c) {
    __shared__ __align__(1024) float lines[16 * 32];
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    for (unsigned i = threadIdx.x; i < 16 * 24; i += 128) {
        const unsigned n = i / 24, k = i % 24;
        lines[n * 32 + (k / 4 ^ n % 8) * 4 + k % 4] = b[i];
    }
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncthreads();
    float d[8];
    for (int i = 0; i < 8; i++)
        d[i] = c[(16 * warp + g + i / 2 % 2 * 8) * 16 + i / 4 * 8 + 2 * t + i % 2];
    unsigned f[3][4];
    for (int k = 0; k < 3; k++)
        for (int r = 0; r < 4; r++)
            f[k][r] = __float_as_uint(a[(16 * warp + g + r % 2 * 8) * 24 + 8 * k + t + r / 2 * 4]);
    const unsigned long long at = (unsigned)__cvta_generic_to_shared(lines) / 16 | 64ull << 32 | 1ull << 62;
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
    for (int k = 0; k < 3; k++)
        asm volatile("wgmma.mma_async.sync.aligned.m64n16k8.f32.tf32.tf32 {%0, %1, %2, %3, %4, %5, %6, %7}, "
                     "{%8, %9, %10, %11}, %12, 1, 1, 1;"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7])
                     : "r"(f[k][0]), "r"(f[k][1]), "r"(f[k][2]), "r"(f[k][3]), "l"(at + 2 * k));
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
    for (int i = 0; i < 8; i++)
        c[(16 * warp + g + i / 2 % 2 * 8) * 16 + i / 4 * 8 + 2 * t + i % 2] = d[i];
}
#endif
