// Products of pixels with FP32 values on the tensor cores that lose nothing: mma.sync.m16n8k16 on bf16.
//
// A float is cut into three bf16 of eight bits each that add up to it exactly: 24 bits. A pixel, 0 to 255,
// is one bf16 exactly. So every product of a pixel and a part is exact in the FP32 sum, and three products
// do what one FP32 multiply-add does, at a twelfth to an eighth of its time. TF32 needs two products of
// twice the cost and loses the last two bits; fp16 needs two of the same cost, but has a range that a
// diverging trial leaves long before FP32 does. (NVIDIA's libraries emulate FP32 likewise; there both
// sides are cut, which makes nine products.)
//
// The instruction adds with truncation, so an error of up to 2^-23 of the sum remains for each step of
// sixteen k. The parts are added from the smallest on, and a sum is of a quarter of the pixels at most.
//
// Cost of two floats: 11 instructions, none of which is a conversion.
// Needs sm_80.
#pragma once

// Two neighbouring floats, the first in the lower half of each word.
struct Parts {
    unsigned int big, middle, small;
};

// The upper halves of two floats: two bf16, the values truncated.
__device__ inline unsigned int upper_halves(float first, float second)
{
    return __byte_perm(__float_as_uint(first), __float_as_uint(second), 0x7632);
}

// What truncation to bf16 leaves of a value; exact.
__device__ inline float rest(float x)
{
    return x - __uint_as_float(__float_as_uint(x) & 0xffff0000u);
}

__device__ inline Parts split(float first, float second)
{
    const float first_rest = rest(first), second_rest = rest(second);
    return {upper_halves(first, second), upper_halves(first_rest, second_rest),
            upper_halves(rest(first_rest), rest(second_rest))};
}

// A 16 x 16 fragment of the left operand in its three parts.
struct SplitFragment {
    unsigned int part[3][4];  // the smallest first

    __device__ void set(int i, float first, float second)
    {
        const Parts parts = split(first, second);
        part[0][i] = parts.small;
        part[1][i] = parts.middle;
        part[2][i] = parts.big;
    }
};

// c += a b: 16 x 16 times 16 x 8.
__device__ inline void multiply_add(float (&c)[4], const unsigned int (&a)[4], unsigned int b0, unsigned int b1)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four 8 x 8 matrices of 16-bit values; lane l gives the address of row l % 8 of matrix l / 8.
__device__ inline void load_matrices(unsigned int (&four)[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(four[0]), "=r"(four[1]), "=r"(four[2]), "=r"(four[3])
                 : "r"((unsigned int)__cvta_generic_to_shared(row))
                 : "memory");
}

// The same, each matrix transposed.
__device__ inline void load_transposed(unsigned int (&four)[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(four[0]), "=r"(four[1]), "=r"(four[2]), "=r"(four[3])
                 : "r"((unsigned int)__cvta_generic_to_shared(row))
                 : "memory");
}
