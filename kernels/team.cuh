// Blocks that train a trial together, and how they exchange: through global memory, in rounds.
//
// `size` neighbouring blocks are a team. In a round every block writes what the others are to read, *arrives*
// with the number of the round, and waits until all have arrived. All blocks of the launch must be on the GPU
// at the same time: it is launched cooperatively, with no more than fit.
//
// A block has two words, for even and odd rounds, and so has what is exchanged: a block that is one round
// ahead writes the other place, and it is not two ahead before all have read the first. Beside the round's
// number a word says whether the first block wishes that the team leaves: all see it in the same round.
//
// Cost of a round: two barriers, and a store and a load that meet in the second-level cache: about 1,500
// cycles on a Hopper GPU. A cluster's shared memory would take a third of it, and is not there before sm_90.
#pragma once

#define TEAM_LEAVE 0x80000000u

struct Team {
    unsigned int *arrived;  // [blocks][2], zero when the launch begins
    unsigned int rank, size;
    unsigned int round;     // rounds so far: the same in all blocks of the team

    __device__ Team(unsigned int *arrived, unsigned int size)
        : arrived(arrived + blockIdx.x / size * size * 2), rank(blockIdx.x % size), size(size), round(0)
    {
    }

    // Which of two places is written in the next round, and read after it.
    __device__ unsigned int parity() const { return (round + 1) % 2; }

    // One round: what the team's blocks wrote before it may be read after it. True where the first block
    // wished so, by its first thread. `word` is shared memory of the block's own.
    __device__ bool meet(bool wish, unsigned int *word)
    {
        round++;
        const unsigned int number = round & ~TEAM_LEAVE;
        __syncthreads();
        if (threadIdx.x == 0) {
            const unsigned int mine = number | (wish ? TEAM_LEAVE : 0);
            *word = mine;
            if (size > 1) {
                __threadfence();
                *(volatile unsigned int *)(arrived + rank * 2 + round % 2) = mine;
            }
        }
        if (threadIdx.x < size && threadIdx.x != rank) {
            const volatile unsigned int *other = arrived + threadIdx.x * 2 + round % 2;
            unsigned int seen = *other;
            while ((seen & ~TEAM_LEAVE) != number) {
                __nanosleep(20);
                seen = *other;
            }
            __threadfence();
            if (threadIdx.x == 0) *word = seen;
        }
        __syncthreads();
        return *word & TEAM_LEAVE;
    }
};
