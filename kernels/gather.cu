// gather: the samples of every trial's step, from the resident bytes to its batch tile.
//
//   inputs[row][i] = pixels[sample(first + row)][i] / 255, labels[row] = labels[sample(first + row)]
//   pixels [count][inputs] u8, inputs [capacity][input_stride] f32, tiles [blocks] {trial, first row}
//
// `sample` is the trial's own shuffle when it trains, and the order of the files when it scores. The
// quotient is correctly rounded: the same float as on the host.
//
// Cost a sample: `inputs` bytes read, 4 x `inputs` written; a warp takes a row, so both are coalesced.
// Every lane evaluates the same index, which costs no more than one lane would and needs no exchange.
// registers: at most 40

#include "shuffle.cuh"
#include "trial.cuh"

#define GATHER_ROWS 8  // warps a block

// byte / 255, correctly rounded: one step of Newton's method after the product with the reciprocal.
__device__ static float scaled(unsigned int byte)
{
    const float p = (float)byte, reciprocal = 1.0f / 255.0f;
    const float q = p * reciprocal;
    return fmaf(fmaf(-q, 255.0f, p), reciprocal, q);
}

extern "C" __global__ void __launch_bounds__(32 * GATHER_ROWS)
gather(const Plan *plans, const Clock *clocks, const Tile *tiles, const Data *data)
{
    const Tile tile = tiles[blockIdx.x];
    const Plan &plan = plans[tile.of];
    const Clock &clock = clocks[tile.of];
    const unsigned int row = tile.first + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= clock.step.rows) return;

    const bool training = clock.step.training;
    const Samples &part = training ? data->training : data->validation;
    unsigned int sample = clock.first + row;
    if (training && plan.shuffled) sample = shuffle_index(sample, part.count, clock.keys);
    if (lane == 0) plan.labels[row] = part.labels[sample];

    const unsigned int inputs = data->inputs;
    const unsigned char *from = part.pixels + (size_t)sample * inputs;
    float *to = plan.inputs + (size_t)row * plan.input_stride;
    if (inputs % 4 == 0) {
        for (unsigned int four = lane; four < inputs / 4; four += 32) {
            const uchar4 p = reinterpret_cast<const uchar4 *>(from)[four];
            const float4 values = make_float4(scaled(p.x), scaled(p.y), scaled(p.z), scaled(p.w));
            reinterpret_cast<float4 *>(to)[four] = values;
        }
    } else {
        for (unsigned int i = lane; i < inputs; i += 32) to[i] = scaled(from[i]);
    }
}
