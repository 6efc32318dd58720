// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), counter and key
// as src/random.rs lays them out: the same words at the same positions, bit for bit.
// Cost: 20 wide multiplications and about 60 other integer operations for four words.
#pragma once

__device__ inline uint4 philox4x32(uint4 counter, uint2 key)
{
#pragma unroll
    for (int round = 0; round < 10; round++) {
        const unsigned long long a = 0xD2511F53ull * counter.x;
        const unsigned long long b = 0xCD9E8D57ull * counter.z;
        counter = make_uint4((unsigned int)(b >> 32) ^ counter.y ^ key.x, (unsigned int)b,
                             (unsigned int)(a >> 32) ^ counter.w ^ key.y, (unsigned int)a);
        key.x += 0x9E3779B9u;
        key.y += 0xBB67AE85u;
    }
    return counter;
}

// Words 4 block .. 4 block + 4 of the stream of (seed, purpose, trial): `Stream::block`.
__device__ inline uint4 philox_block(unsigned long long seed, unsigned int trial, unsigned int purpose,
                                     unsigned long long block)
{
    const uint4 counter =
        make_uint4((unsigned int)block, (unsigned int)(block >> 32), trial, purpose);
    return philox4x32(counter, make_uint2((unsigned int)seed, (unsigned int)(seed >> 32)));
}

// A word as a float in [0, 1): its upper 24 bits, exact.
__device__ inline float unit_float(unsigned int word)
{
    return (float)(word >> 8) * (1.0f / 16777216.0f);
}
