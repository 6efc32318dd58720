// sgd: one step of torch.optim.SGD for all tensors of all trials, with the gradient of the biases.
//
//   g += weight_decay * w;  v = momentum * v + g  (v = 0 at first);  g = nesterov ? g + momentum * v : v
//   w -= learning_rate * g
//   tensors [count]: a weight and its gradient [inputs][stride], padding included (zeros stay zeros);
//   a bias [outputs], its gradient the sum over the rows of delta [rows][stride]; tiles {tensor, first value}
//
// A block takes 4096 weights in vectors of four, or 32 biases: there eight warps take every eighth row
// each, and their sums are added in order.
//
// Cost a weight: 12 bytes (20 with momentum), 2 to 8 flops: bound by memory.
// registers: at most 48

#include "layout.cuh"
#include "trial.cuh"

#define SGD_THREADS 256
#define SGD_VALUES 4096  // weights a block
#define SGD_COLUMNS 32   // biases a block

struct SgdTensor {
    float *values;
    float *velocity;        // as values; null without momentum
    const float *gradient;  // weights: as values; biases: delta
    unsigned int trial;
    unsigned int count;   // of values
    unsigned int stride;  // of delta; 0: a tensor of weights
    unsigned int pad;
};

struct Rule {
    float rate, momentum, weight_decay;
    bool nesterov;
};

__device__ static void step_value(const Rule &rule, float &w, float g, float *v)
{
    g = fmaf(rule.weight_decay, w, g);
    if (v) {
        *v = fmaf(rule.momentum, *v, g);
        g = rule.nesterov ? fmaf(rule.momentum, *v, g) : *v;
    }
    w = fmaf(-rule.rate, g, w);
}

__device__ static void step_weights(const SgdTensor &tensor, const Rule &rule, unsigned int first)
{
    const unsigned int end = min(first + SGD_VALUES, tensor.count);
    for (unsigned int i = first + 4 * threadIdx.x; i < end; i += 4 * SGD_THREADS) {
        float4 w = *reinterpret_cast<float4 *>(tensor.values + i);
        const float4 g = *reinterpret_cast<const float4 *>(tensor.gradient + i);
        if (tensor.velocity) {
            float4 v = *reinterpret_cast<float4 *>(tensor.velocity + i);
            step_value(rule, w.x, g.x, &v.x);
            step_value(rule, w.y, g.y, &v.y);
            step_value(rule, w.z, g.z, &v.z);
            step_value(rule, w.w, g.w, &v.w);
            *reinterpret_cast<float4 *>(tensor.velocity + i) = v;
        } else {
            step_value(rule, w.x, g.x, nullptr);
            step_value(rule, w.y, g.y, nullptr);
            step_value(rule, w.z, g.z, nullptr);
            step_value(rule, w.w, g.w, nullptr);
        }
        *reinterpret_cast<float4 *>(tensor.values + i) = w;
    }
}

__device__ static void step_biases(const SgdTensor &tensor, const Rule &rule, unsigned int first,
                                   unsigned int rows)
{
    constexpr unsigned int WARPS = SGD_THREADS / SGD_COLUMNS;
    __shared__ float sums[WARPS][SGD_COLUMNS];
    const unsigned int lane = threadIdx.x % SGD_COLUMNS, warp = threadIdx.x / SGD_COLUMNS;
    const unsigned int column = first + lane;
    float sum = 0.0f;
    if (column < tensor.count)
        for (unsigned int row = warp; row < rows; row += WARPS)
            sum += tensor.gradient[(size_t)row * tensor.stride + column];
    sums[warp][lane] = sum;
    __syncthreads();
    if (warp > 0 || column >= tensor.count) return;
    float g = sums[0][lane];
    for (unsigned int other = 1; other < WARPS; other++) g += sums[other][lane];
    step_value(rule, tensor.values[column], g, tensor.velocity ? tensor.velocity + column : nullptr);
}

extern "C" __global__ void __launch_bounds__(SGD_THREADS)
sgd(const Plan *plans, const Clock *clocks, const SgdTensor *tensors, const Tile *tiles)
{
    const Tile tile = tiles[blockIdx.x];
    const SgdTensor tensor = tensors[tile.of];  // a copy: what is stored might else change it
    const Clock &clock = clocks[tensor.trial];
    if (clock.learning.rows == 0) return;
    const Plan &plan = plans[tensor.trial];
    const Rule rule = {clock.learning_rate, plan.momentum, plan.weight_decay, plan.nesterov != 0};
    if (tensor.stride == 0)
        step_weights(tensor, rule, tile.first);
    else
        step_biases(tensor, rule, tile.first, clock.learning.rows);
}

// How the struct lies in memory, to be compared with the host's.
extern "C" __device__ const unsigned int SgdTensor_layout[] = {
    sizeof(SgdTensor), offsetof(SgdTensor, values), offsetof(SgdTensor, velocity),
    offsetof(SgdTensor, gradient), offsetof(SgdTensor, trial),
    offsetof(SgdTensor, count), offsetof(SgdTensor, stride),
    offsetof(SgdTensor, pad)};
