// init: initial weights and biases of all trials, drawn where they are needed.
//
//   tensor[input][output] = (2 u - 1) * bound, u = upper 24 bits of word (output * inputs + input) / 2^24
//   tensors [count], each [inputs][stride]; a bias is a tensor of one input; tiles {tensor, first Philox block}
//
// Bit for bit `Parameters::initial` of src/model/parameters.rs, transposed: 2 u - 1 is exact, so there is
// one rounding.
//
// Cost: once an array; a Philox block (about 100 integer operations) and 16 bytes, not coalesced, a thread.
// registers: at most 40

#include "layout.cuh"
#include "philox.cuh"
#include "trial.cuh"

#define INIT_THREADS 256

struct InitTensor {
    unsigned long long seed;
    float *values;  // [inputs][stride]
    unsigned int trial, purpose;
    unsigned int inputs, outputs, stride;
    float bound;
};

extern "C" __global__ void __launch_bounds__(INIT_THREADS)
init(const InitTensor *tensors, const Tile *tiles)
{
    const Tile tile = tiles[blockIdx.x];
    const InitTensor &tensor = tensors[tile.of];
    const unsigned int block = tile.first + threadIdx.x;
    const unsigned int count = tensor.inputs * tensor.outputs;
    if (4 * block >= count) return;
    const uint4 four = philox_block(tensor.seed, tensor.trial, tensor.purpose, block);
    const unsigned int words[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
    for (unsigned int i = 0; i < 4; i++) {
        const unsigned int place = 4 * block + i;
        if (place >= count) return;
        const unsigned int output = place / tensor.inputs, input = place % tensor.inputs;
        tensor.values[(size_t)input * tensor.stride + output] = (2.0f * unit_float(words[i]) - 1.0f) * tensor.bound;
    }
}

// How the struct lies in memory, to be compared with the host's.
extern "C" __device__ const unsigned int InitTensor_layout[] = {
    sizeof(InitTensor), offsetof(InitTensor, seed), offsetof(InitTensor, values),
    offsetof(InitTensor, trial), offsetof(InitTensor, purpose),
    offsetof(InitTensor, inputs), offsetof(InitTensor, outputs),
    offsetof(InitTensor, stride), offsetof(InitTensor, bound)};
