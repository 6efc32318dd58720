// softmax_xent: cross-entropy of every trial's logits; its gradient for rows that are trained on, the
// predicted class for rows that are scored.
//
//   loss = ln sum_c exp(z_c - m) - sum_c t_c (z_c - m),  m = max_c z_c
//   t = (1 - smoothing) onehot + smoothing / classes     (scored: onehot)
//   delta = (exp(z - m) / sum - t) / rows
//   logits, delta [capacity][class_stride], labels, losses, predicted [capacity]; tiles {trial, first row}
//
// nn.CrossEntropyLoss(label_smoothing). Measured from the largest logit, it is exact for large ones. Ties
// go to the lower class; a logit that is not a number makes the loss so, and the class `classes`, which is
// never right. Losses are written a row each and added by `begin`: no atomics.
//
// Sixteen lanes take a row, classes lane, lane + 16, ..., and add up by a butterfly: the same order
// whatever the batch. Cost a row: 4 x classes bytes read and written, two exponentials a class.
// registers: at most 48

#include "trial.cuh"

#define XENT_LANES 16
#define XENT_ROWS 16  // rows a block

__device__ static float sum_of_lanes(float value)
{
    for (int lane = XENT_LANES / 2; lane > 0; lane /= 2) value += __shfl_xor_sync(0xffffffffu, value, lane);
    return value;
}

__device__ static float max_of_lanes(float value)
{
    for (int lane = XENT_LANES / 2; lane > 0; lane /= 2)
        value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, lane));
    return value;
}

__device__ static unsigned int min_of_lanes(unsigned int value)
{
    for (int lane = XENT_LANES / 2; lane > 0; lane /= 2)
        value = min(value, __shfl_xor_sync(0xffffffffu, value, lane));
    return value;
}

extern "C" __global__ void __launch_bounds__(XENT_LANES *XENT_ROWS)
softmax_xent(const Plan *plans, const Clock *clocks, const Tile *tiles, const Data *data)
{
    const Tile tile = tiles[blockIdx.x];
    const Plan &plan = plans[tile.of];
    const Step step = clocks[tile.of].step;
    if (tile.first >= step.rows) return;
    const unsigned int lane = threadIdx.x % XENT_LANES;
    // Beyond the last row, the last is taken once more and nothing stored: all lanes exchange.
    const unsigned int row = min(tile.first + threadIdx.x / XENT_LANES, step.rows - 1);
    const bool stores = tile.first + threadIdx.x / XENT_LANES < step.rows;

    const unsigned int classes = data->classes, label = plan.labels[row];
    const float *z = plan.logits + (size_t)row * plan.class_stride;
    const float smoothing = step.training ? plan.smoothing : 0.0f;
    const float off = smoothing / (float)classes, on = 1.0f - smoothing;

    float largest = z[0];
    for (unsigned int c = lane; c < classes; c += XENT_LANES) largest = fmaxf(largest, z[c]);
    largest = max_of_lanes(largest);

    float sum = 0.0f, expected = 0.0f;
    for (unsigned int c = lane; c < classes; c += XENT_LANES) {
        const float target = off + (c == label ? on : 0.0f), from_largest = z[c] - largest;
        sum += expf(from_largest);
        // A class that is not aimed at adds nothing, also when its logit is minus infinity.
        if (target > 0.0f) expected += target * from_largest;
    }
    sum = sum_of_lanes(sum);
    expected = sum_of_lanes(expected);
    const float loss = logf(sum) - expected;
    if (stores && lane == 0) plan.losses[row] = loss;

    if (step.training) {
        const float scale = 1.0f / sum, share = 1.0f / (float)step.rows;
        float *delta = plan.delta + (size_t)row * plan.class_stride;
        for (unsigned int c = lane; stores && c < classes; c += XENT_LANES) {
            const float target = off + (c == label ? on : 0.0f);
            delta[c] = (expf(z[c] - largest) * scale - target) * share;
        }
    } else {
        unsigned int best = classes;
        for (unsigned int c = lane; c < classes; c += XENT_LANES)
            if (z[c] == largest) best = min(best, c);
        best = min_of_lanes(best);
        if (stores && lane == 0) plan.predicted[row] = loss == loss ? best : classes;
    }
}
