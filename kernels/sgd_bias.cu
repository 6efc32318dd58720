// sgd_bias: one step of SGD (rule.cuh) for the biases of all trials, whose gradient is summed here: over the
// rows of delta. Weights are updated where their gradient is summed (gemm_epilogue.cuh).
//
//   biases [outputs], velocity [outputs], delta [rows][stride]; tiles {layer, first bias}
//
// A block takes 32 biases: eight warps take every eighth row each, and their sums are added in order.
//
// Cost: 4 bytes read for each element of delta.
// registers: at most 40

#include "layout.cuh"
#include "trial.cuh"

#define BIASES 32  // a block
#define BIAS_THREADS 256

// The biases of a trial's layer.
struct BiasLayer {
    float *values;
    float *velocity;     // null without momentum
    const float *delta;
    unsigned int trial;
    unsigned int count;   // of biases
    unsigned int stride;  // of delta
    unsigned int pad;
};

extern "C" __global__ void __launch_bounds__(BIAS_THREADS)
sgd_bias(const Clock *clocks, const BiasLayer *layers, const Tile *tiles)
{
    constexpr unsigned int WARPS = BIAS_THREADS / BIASES;
    __shared__ float sums[WARPS][BIASES];
    const Tile tile = tiles[blockIdx.x];
    const BiasLayer layer = layers[tile.of];
    const Clock &clock = clocks[layer.trial];
    const unsigned int rows = clock.learning.rows;
    if (rows == 0) return;
    const unsigned int lane = threadIdx.x % BIASES, warp = threadIdx.x / BIASES, column = tile.first + lane;
    float sum = 0.0f;
    if (column < layer.count)
        for (unsigned int row = warp; row < rows; row += WARPS) sum += layer.delta[(size_t)row * layer.stride + column];
    sums[warp][lane] = sum;
    __syncthreads();
    if (warp > 0 || column >= layer.count) return;
    float gradient = sums[0][lane];
    for (unsigned int other = 1; other < WARPS; other++) gradient += sums[other][lane];
    float velocity = layer.velocity ? layer.velocity[column] : 0.0f;
    step_value(clock.rule, layer.values[column], velocity, gradient);
    if (layer.velocity) layer.velocity[column] = velocity;
}

// How the struct lies in memory, to be compared with the host's.
extern "C" __device__ const unsigned int BiasLayer_layout[] = {
    sizeof(BiasLayer),         offsetof(BiasLayer, values), offsetof(BiasLayer, velocity),
    offsetof(BiasLayer, delta),  offsetof(BiasLayer, trial),  offsetof(BiasLayer, count),
    offsetof(BiasLayer, stride), offsetof(BiasLayer, pad)};
