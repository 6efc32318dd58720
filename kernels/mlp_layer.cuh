// The first layer of a block's units, on the tensor cores: sums of pixels times weights, and the update of
// the weights by pixels times deltas. Weights are read, used and written where they lie; the gradient never
// leaves registers.
//
//   forward   hidden[unit][sample] = sum over pixels of weight[unit][pixel] * pixel[sample][pixel]
//   backward  gradient[unit][pixel] = sum over samples of delta[unit][sample] * pixel[sample][pixel]
//
// Pixels are 0 to 255 here: who uses the sums multiplies by 1/255.
//
// Cost of 64 samples and 64 units, by warp and block of 16 pixels (two tiles of units a warp): 48 matrix
// instructions forward and 48 backward, four ldmatrix each, 4 reads of 16 bytes and 88 instructions to split
// 16 weights a lane, 4 + 4 reads and writes and 4 instructions a weight to update them.
#pragma once
#include "mlp_pixels.cuh"

// How a chunk's part of the gradient enters the weights; torch.optim.SGD in its order of operations.
// A batch of several chunks is several parts: decay enters with the first, velocity is applied with the last.
struct MlpRule {
    float rate, weight_decay, momentum;
    float of_velocity, of_gradient;  // the step is of_velocity * v + of_gradient * g

    __device__ MlpRule(float rate, float weight_decay, float momentum, bool nesterov, bool first, bool last)
        : rate(rate), weight_decay(first ? weight_decay : 0.0f), momentum(first ? momentum : 1.0f),
          of_velocity(!last ? 0.0f : nesterov ? momentum : 1.0f), of_gradient(nesterov ? 1.0f : 0.0f)
    {
    }

    __device__ void plain(float &w, float gradient) const
    {
        w = fmaf(-rate, fmaf(weight_decay, w, gradient), w);
    }

    __device__ void with_velocity(float &w, float &v, float gradient) const
    {
        const float g = fmaf(weight_decay, w, gradient);
        v = fmaf(momentum, v, g);
        w = fmaf(-rate, fmaf(of_velocity, v, of_gradient * g), w);
    }
};

template <class M> struct MlpLayer {
    unsigned int blocks;  // of 16 pixels
    unsigned int slice, first_tile, lane;

    __device__ explicit MlpLayer(unsigned int inputs)
        : blocks((inputs + 15) / 16), slice(threadIdx.x / 32 % M::SLICES),
          first_tile(threadIdx.x / 32 / M::SLICES * M::WARP_TILES), lane(threadIdx.x % 32)
    {
    }

    __device__ unsigned int stages() const { return (blocks + M::SLICES - 1) / M::SLICES; }

    // Where a lane's weights of a tile of units and half a block of pixels lie.
    __device__ unsigned int place(unsigned int block, unsigned int tile, unsigned int half) const
    {
        return ((block * M::TILES + tile) * 2 + half) * 32 + lane;
    }

    // The sums of all pixels, into memory.hidden. `pixels` has fetched the first stage.
    __device__ void forward(MlpMemory<M> &memory, const MlpRows<M> &rows, const float4 *weights,
                            Pixels<M> &pixels) const
    {
        float sums[M::WARP_TILES][M::COLUMNS][4] = {};
#pragma unroll 1
        for (unsigned int stage = 0; stage < stages(); stage++) {
            unsigned short *tile = memory.pixels[stage % 2];
            pixels.put(tile);
            if (stage + 1 < stages()) pixels.fetch(rows, stage + 1);
            // The tile is whole for all, and all are done with the other one, which is put next.
            __syncthreads();
            const unsigned int block = stage * M::SLICES + slice;
            if (block >= blocks) continue;
            unsigned int right[M::COLUMNS / 2][4];
#pragma unroll
            for (int pair = 0; pair < M::COLUMNS / 2; pair++)
                load_matrices(right[pair], tile + (16 * pair + lane / 16 * 8 + lane % 8) * M::PIXEL_STRIDE +
                                               16 * slice + lane / 8 % 2 * 8);
#pragma unroll
            for (int i = 0; i < M::WARP_TILES; i++) {
                const float4 low = weights[place(block, first_tile + i, 0)];
                const float4 high = weights[place(block, first_tile + i, 1)];
                SplitFragment left;
                left.set(0, low.x, low.y);
                left.set(1, low.z, low.w);
                left.set(2, high.x, high.y);
                left.set(3, high.z, high.w);
#pragma unroll
                for (int part = 0; part < 3; part++)
#pragma unroll
                    for (int j = 0; j < M::COLUMNS; j++)
                        multiply_add(sums[i][j], left.part[part], right[j / 2][j % 2 * 2],
                                     right[j / 2][j % 2 * 2 + 1]);
            }
        }
        __syncthreads();  // the sums take the tiles' place
        reduce(memory.hidden, sums);
    }

    // The slices' sums added up in shared memory, in turns: in each, every slice adds another quarter of its
    // columns; all of them where they are few. An element's order is fixed by its column.
    __device__ void reduce(float *hidden, const float (&sums)[M::WARP_TILES][M::COLUMNS][4]) const
    {
        float *mine = hidden + M::hidden(16 * first_tile) + lane / 4 * M::SAMPLE_STRIDE + lane % 4 * 2;
#pragma unroll 1
        for (unsigned int turn = 0; turn < M::SLICES; turn++) {
#pragma unroll
            for (int j = 0; j < M::COLUMNS; j++) {
                const unsigned int adds = M::COLUMNS < 4 ? slice : (slice + turn) % M::SLICES;
                if (adds != (M::COLUMNS < 4 ? turn : j / (M::COLUMNS / 4))) continue;
#pragma unroll
                for (int i = 0; i < M::WARP_TILES; i++)
#pragma unroll
                    for (int row = 0; row < 2; row++) {
                        float2 *to = (float2 *)(mine + (16 * i + 8 * row) * M::SAMPLE_STRIDE + 8 * j);
                        float2 sum = turn == 0 ? make_float2(0.0f, 0.0f) : *to;
                        sum.x += sums[i][j][2 * row];
                        sum.y += sums[i][j][2 * row + 1];
                        *to = sum;
                    }
            }
            __syncthreads();
        }
    }

    // Updates the weights by the deltas in memory.hidden, which the first tiles overwrite. Velocities lie
    // `velocity` places behind their weights; 0: there are none. `pixels` has fetched the first stage.
    __device__ void backward(MlpMemory<M> &memory, const MlpRows<M> &rows, float4 *weights,
                             unsigned int velocity, Pixels<M> &pixels, const MlpRule &rule) const
    {
        SplitFragment deltas[M::WARP_TILES][M::STEPS];
#pragma unroll
        for (int i = 0; i < M::WARP_TILES; i++)
#pragma unroll
            for (int step = 0; step < M::STEPS; step++)
#pragma unroll
                for (int r = 0; r < 4; r++) {
                    const unsigned int unit = 16 * (first_tile + i) + lane / 4 + r % 2 * 8;
                    const unsigned int sample = 16 * step + lane % 4 * 2 + r / 2 * 8;
                    const float2 two = *(const float2 *)(memory.hidden + M::hidden(unit) + sample);
                    deltas[i][step].set(r, two.x, two.y);
                }
        __syncthreads();  // the tiles take the deltas' place
#pragma unroll 1
        for (unsigned int stage = 0; stage < stages(); stage++) {
            unsigned short *tile = memory.pixels[stage % 2];
            pixels.put(tile);
            if (stage + 1 < stages()) pixels.fetch(rows, stage + 1);
            __syncthreads();  // as above
            const unsigned int block = stage * M::SLICES + slice;
            if (block >= blocks) continue;
            float sums[M::WARP_TILES][2][4] = {};
#pragma unroll
            for (int step = 0; step < M::STEPS; step++) {
                unsigned int right[4];
                load_transposed(right, tile + (16 * step + lane % 16) * M::PIXEL_STRIDE + 16 * slice +
                                           lane / 16 * 8);
#pragma unroll
                for (int part = 0; part < 3; part++)
#pragma unroll
                    for (int i = 0; i < M::WARP_TILES; i++)
#pragma unroll
                        for (int half = 0; half < 2; half++)
                            multiply_add(sums[i][half], deltas[i][step].part[part], right[2 * half],
                                         right[2 * half + 1]);
            }
#pragma unroll
            for (int i = 0; i < M::WARP_TILES; i++)
#pragma unroll
                for (int half = 0; half < 2; half++)
                    update(weights, velocity, place(block, first_tile + i, half), sums[i][half], rule);
        }
    }

private:
    __device__ static void update(float4 *weights, unsigned int velocity, unsigned int at, const float (&sums)[4],
                                  const MlpRule &rule)
    {
        float4 w = weights[at];
        const float4 g = make_float4(sums[0] * (1.0f / 255.0f), sums[1] * (1.0f / 255.0f),
                                     sums[2] * (1.0f / 255.0f), sums[3] * (1.0f / 255.0f));
        if (velocity) {
            float4 v = weights[at + velocity];
            rule.with_velocity(w.x, v.x, g.x);
            rule.with_velocity(w.y, v.y, g.y);
            rule.with_velocity(w.z, v.z, g.z);
            rule.with_velocity(w.w, v.w, g.w);
            weights[at + velocity] = v;
        } else {
            rule.plain(w.x, g.x);
            rule.plain(w.y, g.y);
            rule.plain(w.z, g.z);
            rule.plain(w.w, g.w);
        }
        weights[at] = w;
    }
};
