// What lies between the two passes of the first layer, on the ordinary cores: activation, second layer,
// cross-entropy, and the way back to the deltas of the hidden units.
//
//   activate        hidden = f(sums / 255 + bias) * dropout          [unit][sample], in place
//   partial_logits  of the block's units, to be added up over the team's blocks
//   cross_entropy   as kernels/softmax_xent.cu; delta                [class][sample], and losses
//   head_gradients  of the second layer and its bias, in registers; deltas of the hidden units, in registers
//   put_deltas      to where the hidden values were                  [unit][sample]
//
// A thread has a *patch* of 4 units x 4 samples, whose slopes wait in registers from one end to the other.
// Every sum has an order that the shape alone decides.
//
// Cost of 64 samples and 64 units: 123,000 multiply-adds, about 1,100 instructions a thread with ReLU, and
// 4 barriers: about 3,000 cycles in which the tensor cores rest.
#pragma once
#include "activation.cuh"
#include "dropout.cuh"
#include "fused.cuh"
#include "mlp_layer.cuh"

// The velocities of all but the first layer's weights.
template <class M> struct alignas(16) MlpVelocities {
    float head[M::HEAD], head_bias[MLP_CLASSES], bias[M::UNITS];
};

__device__ inline float dot(float4 a, float4 b, float sum)
{
    return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, sum))));
}

// The sum of a value over the lanes whose numbers differ in the bits of FROM, 2 FROM, ..., below END.
template <int FROM, int END> __device__ inline float sum_lanes(float value)
{
#pragma unroll
    for (int lane = FROM; lane < END; lane *= 2) value += __shfl_xor_sync(0xffffffffu, value, lane);
    return value;
}

// The sum over a team's blocks as a binary tree, the blocks that are missing at its end as zeros. It works like
// a counter: level k holds the sum of 2^k neighbours until its sibling is there.
__device__ inline float tree_sum(const float *part, unsigned int team, unsigned int stride)
{
    const unsigned int leaves = team == 1 ? 1 : 2u << (31 - __clz(team - 1));
    float levels[MLP_TEAM_LEVELS] = {}, sum = 0.0f;
    for (unsigned int leaf = 0; leaf < leaves; leaf++) {
        // Not by way of the first-level cache: another block wrote it.
        sum = leaf < team ? __ldcg(part + leaf * stride) : 0.0f;
        bool rises = true;
#pragma unroll
        for (int level = 0; level < MLP_TEAM_LEVELS; level++) {
            if (!rises) continue;
            rises = leaf >> level & 1;
            if (rises)
                sum = levels[level] + sum;
            else
                levels[level] = sum;
        }
    }
    return sum;
}

template <class M> struct MlpHead {
    static constexpr int QUADS = M::SAMPLES / 4;
    static constexpr int TILE_LANES = 128 / M::SAMPLES;    // that share a sample's logits, of a tile of units
    static constexpr int LANES = TILE_LANES * M::HALVES;   // of all tiles
    static constexpr int PART = M::SAMPLES / 4;            // samples that a lane sums in gradients
    static_assert(M::UNITS / 4 * QUADS <= M::THREADS && 4 * M::UNITS <= M::THREADS, "a patch a thread at most");
    static_assert(LANES >= 2 && LANES <= 32, "a sample's lanes are of one warp");

    MlpMemory<M> &memory;
    float slopes[4][4], deltas[4][4];  // of the patch, [unit][sample]
    // Of the batch so far: of unit threadIdx / 16 * 4 + threadIdx / 4 % 4 and three classes; of class
    // threadIdx / 4; of unit threadIdx / 4.
    float head_gradient[3], head_bias_gradient, bias_gradient;

    __device__ explicit MlpHead(MlpMemory<M> &memory) : memory(memory) {}

    // A new batch begins.
    __device__ void clear()
    {
        head_gradient[0] = head_gradient[1] = head_gradient[2] = 0.0f;
        head_bias_gradient = bias_gradient = 0.0f;
    }

    // `units` of the layer, of which the block has those from `first_unit` on; `drawn` is where the dropout
    // of the chunk's first sample is drawn.
    __device__ void activate(unsigned int activation, const Dropout &dropout, bool training,
                             unsigned int first_unit, unsigned long long drawn)
    {
        if (!has_patch()) return;
#pragma unroll 1
        for (int i = 0; i < 4; i++) {
            // The rows move up by one, so that all are in registers and the code stands here once.
#pragma unroll
            for (int j = 0; j < 4; j++)
                slopes[0][j] = slopes[1][j], slopes[1][j] = slopes[2][j], slopes[2][j] = slopes[3][j];
            switch (activation) {
            case RELU: activate_row<RELU>(i); break;
            case TANH: activate_row<TANH>(i); break;
            case SIGMOID: activate_row<SIGMOID>(i); break;
            case GELU: activate_row<GELU>(i); break;
            default: activate_row<NO_ACTIVATION>(i);
            }
        }
        if (training && dropout.probability > 0.0f) drop_patch(dropout, first_unit, drawn);
        // Units that the layer does not have must not teach the second layer: sigmoid(0) is not 0.
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (first_unit + unit() + i >= dropout.units) *values(i) = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }

    // Into `parts` [sample][class]: over the units of a tile in one order, then over tiles as a binary tree, of
    // which the team's blocks are the upper part. So a trial's numbers do not depend on the units of a block.
    __device__ void partial_logits(float *parts) const
    {
        const unsigned int sample = threadIdx.x / LANES, lane = threadIdx.x % LANES;
        float sums[MLP_CLASSES] = {};
#pragma unroll 1
        for (int turn = 0; turn < M::TILES / M::HALVES; turn++) {
            const unsigned int first = 16 * (lane / TILE_LANES * (M::TILES / M::HALVES) + turn) + lane % TILE_LANES;
            float tile[MLP_CLASSES] = {};
#pragma unroll 4
            for (unsigned int unit = first; unit < first + 16 - lane % TILE_LANES; unit += TILE_LANES) {
                const float value = memory.hidden[M::hidden(unit) + sample];
                const float4 *row = (const float4 *)(memory.head + M::head(unit));
#pragma unroll
                for (int four = 0; four < MLP_CLASSES / 4; four++) {
                    const float4 w = row[four];
                    tile[4 * four] = fmaf(value, w.x, tile[4 * four]);
                    tile[4 * four + 1] = fmaf(value, w.y, tile[4 * four + 1]);
                    tile[4 * four + 2] = fmaf(value, w.z, tile[4 * four + 2]);
                    tile[4 * four + 3] = fmaf(value, w.w, tile[4 * four + 3]);
                }
            }
#pragma unroll
            for (int c = 0; c < MLP_CLASSES; c++) {
                tile[c] = sum_lanes<1, TILE_LANES>(tile[c]);
                sums[c] = turn == 0 ? tile[c] : sums[c] + tile[c];
            }
        }
#pragma unroll
        for (int c = 0; c < MLP_CLASSES; c++) sums[c] = sum_lanes<TILE_LANES, LANES>(sums[c]);
#pragma unroll
        for (int four = 0; four < MLP_CLASSES / 4; four++)
            if (four % LANES == lane)
                *(float4 *)(parts + sample * MLP_CLASSES + 4 * four) =
                    make_float4(sums[4 * four], sums[4 * four + 1], sums[4 * four + 2], sums[4 * four + 3]);
    }

    // Four lanes a sample, each with three classes. `parts` are those of the team's first block, the others
    // follow `stride` floats apart. `share` is 1 / samples of the batch, `rows` the chunk's samples.
    __device__ void cross_entropy(const float *parts, unsigned int team, unsigned int stride,
                                  const MlpRows<M> &rows, unsigned int count, unsigned int classes,
                                  float smoothing, float share)
    {
        constexpr int OWN = MLP_CLASSES / 4;
        const float off = smoothing / (float)classes, on = 1.0f - smoothing;
#pragma unroll 1
        for (unsigned int item = threadIdx.x; item < 4 * M::SAMPLES; item += M::THREADS) {
            const unsigned int sample = item / 4, lane = item % 4, label = rows.label[sample];
            const bool exists = sample < count;
            float z[OWN], largest = __uint_as_float(0xff800000u);
#pragma unroll
            for (int own = 0; own < OWN; own++) {
                const unsigned int c = lane + 4 * own;
                const float *part = parts + sample * MLP_CLASSES + c;
                z[own] = memory.head_bias[c] + (team == 1 ? *part : tree_sum(part, team, stride));
                if (c < classes) largest = fmaxf(largest, z[own]);
            }
            largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 1));
            largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 2));
            float powers[OWN], sum = 0.0f, expected = 0.0f;
            unsigned int best = classes;
#pragma unroll
            for (int own = 0; own < OWN; own++) {
                const unsigned int c = lane + 4 * own;
                powers[own] = 0.0f;
                if (c >= classes) continue;
                const float target = off + (c == label ? on : 0.0f), from_largest = z[own] - largest;
                powers[own] = expf(from_largest);
                sum += powers[own];
                if (target > 0.0f) expected += target * from_largest;
                if (z[own] == largest) best = min(best, c);
            }
            sum = sum_lanes<1, 4>(sum);
            expected = sum_lanes<1, 4>(expected);
            best = min(best, __shfl_xor_sync(0xffffffffu, best, 1));
            best = min(best, __shfl_xor_sync(0xffffffffu, best, 2));
            const float loss = logf(sum) - expected, scale = 1.0f / sum;
            if (lane == 0) {
                memory.losses[sample] = exists ? loss : 0.0f;
                memory.wrong[sample] = exists && (loss != loss || best != label);
            }
#pragma unroll
            for (int own = 0; own < OWN; own++) {
                const unsigned int c = lane + 4 * own;
                const float target = off + (c == label ? on : 0.0f);
                const float delta = (powers[own] * scale - target) * share;
                memory.delta[c * M::SAMPLE_STRIDE + sample] = exists && c < classes ? delta : 0.0f;
            }
        }
    }

    // What the chunk adds to the gradients of the second layer, and the deltas of the patch.
    __device__ void head_gradients()
    {
        if (threadIdx.x < 4 * M::UNITS) {
            const unsigned int three = threadIdx.x % 4 * 3, part = threadIdx.x / 4 % 4, four = threadIdx.x / 16 * 4;
            float sums[4][3] = {};
#pragma unroll 2
            for (unsigned int sample = part * PART; sample < (part + 1) * PART; sample += 4) {
                float4 value[4], delta[3];
#pragma unroll
                for (int i = 0; i < 4; i++)
                    value[i] = *(const float4 *)(memory.hidden + M::hidden(four + i) + sample);
#pragma unroll
                for (int c = 0; c < 3; c++)
                    delta[c] = *(const float4 *)(memory.delta + (three + c) * M::SAMPLE_STRIDE + sample);
#pragma unroll
                for (int i = 0; i < 4; i++)
#pragma unroll
                    for (int c = 0; c < 3; c++) sums[i][c] = dot(value[i], delta[c], sums[i][c]);
            }
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int c = 0; c < 3; c++) {
                    const float sum = sum_lanes<4, 16>(sums[i][c]);
                    if (i == part) head_gradient[c] += sum;
                }
        }
        if (threadIdx.x < 64) {
            const unsigned int c = threadIdx.x / 4;
            const float *deltas = memory.delta + c * M::SAMPLE_STRIDE + threadIdx.x % 4 * PART;
            float sum = 0.0f;
            if (c < MLP_CLASSES) sum = sum_part(deltas);
            head_bias_gradient += sum_lanes<1, 4>(sum);
        }
        if (!has_patch()) return;
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) deltas[i][j] = 0.0f;
#pragma unroll 1
        for (int first = 0; first < MLP_CLASSES; first += 4) {
            float4 weight[4], delta[4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                weight[i] = *(const float4 *)(memory.head + M::head(unit() + i) + first);
                delta[i] = *(const float4 *)(memory.delta + (first + i) * M::SAMPLE_STRIDE + sample());
            }
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float w[4] = {weight[i].x, weight[i].y, weight[i].z, weight[i].w};
#pragma unroll
                for (int c = 0; c < 4; c++) {
                    deltas[i][0] = fmaf(delta[c].x, w[c], deltas[i][0]);
                    deltas[i][1] = fmaf(delta[c].y, w[c], deltas[i][1]);
                    deltas[i][2] = fmaf(delta[c].z, w[c], deltas[i][2]);
                    deltas[i][3] = fmaf(delta[c].w, w[c], deltas[i][3]);
                }
            }
        }
    }

    __device__ void put_deltas()
    {
        if (!has_patch()) return;
#pragma unroll
        for (int i = 0; i < 4; i++)
            *values(i) = make_float4(deltas[i][0] * slopes[i][0], deltas[i][1] * slopes[i][1],
                                     deltas[i][2] * slopes[i][2], deltas[i][3] * slopes[i][3]);
    }

    // What the chunk adds to the gradient of the hidden units' bias; after a barrier behind `put_deltas`.
    __device__ void add_bias_gradient()
    {
        if (threadIdx.x >= 4 * M::UNITS) return;
        const float *deltas = memory.hidden + M::hidden(threadIdx.x / 4) + threadIdx.x % 4 * PART;
        bias_gradient += sum_lanes<1, 4>(sum_part(deltas));
    }

    // The step of the second layer, after a barrier behind `head_gradients`. `velocities` may be null.
    __device__ void update_head(MlpVelocities<M> *velocities, const MlpRule &rule)
    {
        if (threadIdx.x < 4 * M::UNITS) {
            const unsigned int unit = threadIdx.x / 16 * 4 + threadIdx.x / 4 % 4;
            const unsigned int at = M::head(unit) + threadIdx.x % 4 * 3;
#pragma unroll
            for (int c = 0; c < 3; c++)
                step(memory.head[at + c], velocities ? velocities->head + at + c : nullptr, head_gradient[c], rule);
        }
        const unsigned int c = threadIdx.x / 4;
        if (threadIdx.x % 4 == 0 && c < MLP_CLASSES)
            step(memory.head_bias[c], velocities ? velocities->head_bias + c : nullptr, head_bias_gradient, rule);
    }

    // The step of the hidden units' bias.
    __device__ void update_bias(MlpVelocities<M> *velocities, const MlpRule &rule)
    {
        const unsigned int unit = threadIdx.x / 4;
        if (threadIdx.x % 4 == 0 && unit < M::UNITS)
            step(memory.bias[unit], velocities ? velocities->bias + unit : nullptr, bias_gradient, rule);
    }

private:
    __device__ static bool has_patch() { return threadIdx.x < M::UNITS / 4 * QUADS; }
    __device__ static unsigned int unit() { return threadIdx.x / QUADS * 4; }
    __device__ static unsigned int sample() { return threadIdx.x % QUADS * 4; }

    // The patch's four samples of its unit `i`.
    __device__ float4 *values(int i) const
    {
        return (float4 *)(memory.hidden + M::hidden(unit() + i) + sample());
    }

    // Unit `i` of the patch; its slopes become the last row.
    template <unsigned int ACTIVATION> __device__ void activate_row(int i)
    {
        const float4 sums = *values(i);
        const float bias = memory.bias[unit() + i];
        float four[4] = {sums.x, sums.y, sums.z, sums.w};
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const float z = fmaf(four[j], 1.0f / 255.0f, bias);
            four[j] = ::activate(ACTIVATION, z);
            slopes[3][j] = derivative(ACTIVATION, z);
        }
        *values(i) = make_float4(four[0], four[1], four[2], four[3]);
    }

    __device__ void drop_patch(const Dropout &dropout, unsigned int first_unit, unsigned long long drawn)
    {
        float factors[4][4];  // [sample][unit]
#pragma unroll
        for (int j = 0; j < 4; j++) {
            factors[j][0] = factors[j][1] = factors[j][2] = factors[j][3] = 1.0f;
            drop(dropout, drawn + sample() + j, first_unit + unit(), factors[j]);
        }
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float4 four = *values(i);
            *values(i) = make_float4(four.x * factors[0][i], four.y * factors[1][i], four.z * factors[2][i],
                                     four.w * factors[3][i]);
#pragma unroll
            for (int j = 0; j < 4; j++) slopes[i][j] *= factors[j][i];
        }
    }

    // A lane's part of the samples of a row.
    __device__ static float sum_part(const float *row)
    {
        float sum = 0.0f;
#pragma unroll 4
        for (int i = 0; i < PART; i += 4) {
            const float4 four = *(const float4 *)(row + i);
            sum += four.x;
            sum += four.y;
            sum += four.z;
            sum += four.w;
        }
        return sum;
    }

    __device__ static void step(float &w, float *v, float gradient, const MlpRule &rule)
    {
        if (v)
            rule.with_velocity(w, *v, gradient);
        else
            rule.plain(w, gradient);
    }
};
