// A trial in the hands of a team: its epoch from the call to the report, step by step.
//
// A step is one or more chunks of samples. All chunks go forward before the first goes back, for the weights
// must not change between; the deltas of a batch of several chunks wait in the trial's scratch memory.
#pragma once
#include "mlp_head.cuh"
#include "team.cuh"

// What the fused MLP kernels are given beside a FusedLaunch. The same struct is in
// src/engine/cuda/launch/fused_mlp.rs.
struct MlpTeams {
    unsigned int *arrived;  // [blocks][2], zeros
    unsigned int *trials;   // [teams]: what a team's first block has taken, or MLP_NO_TRIAL
    float *parts;           // [blocks][2][samples of a chunk][MLP_CLASSES]
    unsigned int size;      // blocks of a team
    unsigned int pad;
};

#define MLP_NO_TRIAL 0xffffffffu
#define MLP_LOOK 64 // rounds from one look at the host's wish to stop to the next

template <class M> struct MlpTrial {
    const FusedLaunch &launch;
    const MlpTeams &teams;
    MlpMemory<M> &memory;
    float4 *weights;                        // of the first layer, as mlp_shape.cuh says
    unsigned int velocity;                  // how far behind its weight a velocity lies; 0: there are none
    Team &team;
    MlpHead<M> head;
    unsigned int turn, held;                // of memory.rows: which is next, and where in the phase it begins
    bool leave;

    __device__ MlpTrial(const FusedLaunch &launch, const MlpTeams &teams, MlpMemory<M> &memory, Team &team)
        : launch(launch), teams(teams), memory(memory), weights((float4 *)(&memory + 1)), velocity(0), team(team),
          head(memory), turn(0), held(MLP_ABSENT), leave(false)
    {
    }

    __device__ const FusedPlan &plan() const { return memory.plan; }
    __device__ unsigned int first_unit() const { return team.rank * M::UNITS; }
    __device__ unsigned int units() const { return memory.plan.layers[0].outputs; }

    // Float4 values of the first layer's weights.
    __device__ unsigned int values() const { return (launch.data->inputs + 15) / 16 * M::TILES * 64; }

    // The velocities of all but these weights, or null.
    __device__ MlpVelocities<M> *velocities() const
    {
        return velocity ? (MlpVelocities<M> *)(weights + 2 * velocity) : nullptr;
    }

    // Trains and scores what is left of the trial's epoch, as far as the budget goes. All blocks of the team
    // have seen the call.
    __device__ void run(unsigned int trial, unsigned int &spent)
    {
        FusedClock &clock = launch.clocks[trial];
        copy(&memory.plan, launch.plans + trial);
        copy(&memory.clock, &clock);
        __syncthreads();
        velocity = memory.plan.momentum > 0.0f ? values() : 0;
        move<true>();
        held = MLP_ABSENT;
        leave = false;
        unsigned int phase = memory.clock.phase, first = memory.clock.first;
        unsigned long long before = memory.clock.before;
#pragma unroll 1
        while (phase != IDLE && spent < launch.budget && !leave) {
            const bool training = phase == TRAINING;
            const unsigned int count = part(training).count;
            const unsigned int rows = min(training ? memory.plan.batch : M::SAMPLES, count - first);
            const unsigned int chunks = (rows + M::SAMPLES - 1) / M::SAMPLES;
            step(training, first, rows, chunks, before);
            spent += chunks;
            first += rows;
            if (training) before += rows;
            if (first == count) {
                phase = training ? SCORING : IDLE;
                first = 0;
                held = MLP_ABSENT;
            }
        }
        __syncthreads();
        move<false>();
        if (threadIdx.x == 0) {
            memory.clock.before = before;
            memory.clock.first = first;
            // An epoch that has ended is closed by its report.
            memory.clock.phase = phase == IDLE ? SCORING : phase;
        }
        __syncthreads();
        if (team.rank == 0) copy(&clock, &memory.clock);
        team.meet(false, &memory.word);
        if (team.rank == 0 && threadIdx.x == 0 && phase == IDLE) fused_report(launch, trial, clock);
    }

private:
    __device__ const Samples &part(bool training) const
    {
        return training ? launch.data->training : launch.data->validation;
    }

    template <class T> __device__ static void copy(T *to, const T *from)
    {
#pragma unroll 1
        for (unsigned int word = threadIdx.x; word < sizeof(T) / 4; word += M::THREADS)
            ((unsigned int *)to)[word] = ((const unsigned int *)from)[word];
    }

    // One value from or to the trial's state. What the layer does not have is zero here, and nowhere there.
    template <bool LOAD> __device__ static void move(float &here, float *there, bool exists)
    {
        if (LOAD)
            here = exists ? *there : 0.0f;
        else if (exists)
            *there = here;
    }

    template <bool LOAD> __device__ void move_weights(float4 *here, float *there)
    {
        const FusedLayer &layer = memory.plan.layers[0];
#pragma unroll 1
        for (unsigned int i = threadIdx.x; i < values(); i += M::THREADS) {
            const unsigned int lane = i % 32, half = i / 32 % 2, tile = i / 64 % M::TILES, block = i / 64 / M::TILES;
            const unsigned int unit = first_unit() + 16 * tile + lane / 4;
            const unsigned int pixel = 16 * block + 8 * half + lane % 4 * 2;
            float *from = there + (size_t)pixel * layer.stride + unit;
            const bool low = unit < layer.outputs, high = unit + 8 < layer.outputs;
            const bool one = pixel < layer.inputs, two = pixel + 1 < layer.inputs;
            move<LOAD>(here[i].x, from, low && one);
            move<LOAD>(here[i].y, from + layer.stride, low && two);
            move<LOAD>(here[i].z, from + 8, high && one);
            move<LOAD>(here[i].w, from + layer.stride + 8, high && two);
        }
    }

    // Everything but the first layer's weights. The second layer's bias is all blocks', and the first's to save.
    template <bool LOAD>
    __device__ void move_rest(float *head, float *head_bias, float *bias, float *state_head, float *state_head_bias,
                              float *state_bias)
    {
        const FusedLayer &second = memory.plan.layers[1];
#pragma unroll 1
        for (unsigned int i = threadIdx.x; i < M::UNITS * MLP_CLASSES; i += M::THREADS) {
            const unsigned int unit = first_unit() + i / MLP_CLASSES, c = i % MLP_CLASSES;
            move<LOAD>(head[M::head(i / MLP_CLASSES) + c], state_head + (size_t)unit * second.stride + c,
                       unit < units() && c < second.outputs);
        }
        const unsigned int i = threadIdx.x;
        if (i < MLP_CLASSES && (LOAD || team.rank == 0))
            move<LOAD>(head_bias[i], state_head_bias + i, i < second.outputs);
        if (i < M::UNITS) move<LOAD>(bias[i], state_bias + first_unit() + i, first_unit() + i < units());
    }

    // The block's share of the trial's state, to shared memory or back.
    template <bool LOAD> __device__ void move()
    {
        const FusedLayer &one = memory.plan.layers[0], &two = memory.plan.layers[1];
        move_weights<LOAD>(weights, one.weight);
        move_rest<LOAD>(memory.head, memory.head_bias, memory.bias, two.weight, two.bias, one.bias);
        if (velocity) {
            MlpVelocities<M> &rest = *velocities();
            move_weights<LOAD>(weights + velocity, one.weight_velocity);
            move_rest<LOAD>(rest.head, rest.head_bias, rest.bias, two.weight_velocity, two.bias_velocity,
                            one.bias_velocity);
        }
    }

    // Which samples the rows from `first` on are; seen by all after a barrier.
    __device__ void look_up(MlpRows<M> &rows, bool training, unsigned int first, unsigned int count)
    {
        const Samples &samples = part(training);
        const unsigned int row = threadIdx.x;
        if (row >= M::SAMPLES) return;
        unsigned int sample = MLP_ABSENT, label = 0;
        if (row < count) {
            sample = first + row;
            if (training && memory.plan.shuffled)
                sample = shuffle_index(sample, samples.count, memory.clock.keys);
            label = __ldg(samples.labels + sample);
        }
        rows.sample[row] = sample;
        rows.label[row] = label;
    }

    // Begins to read these rows' pixels.
    __device__ const MlpRows<M> &begin(Pixels<M> &pixels, bool training, unsigned int first, unsigned int count)
    {
        if (held != first) {
            __syncthreads();
            look_up(memory.rows[turn], training, first, count);
            held = first;
            __syncthreads();
        }
        pixels.fetch(memory.rows[turn], 0);
        return memory.rows[turn];
    }

    // From pixels to losses and the deltas of the logits.
    __device__ void forward(Pixels<M> &pixels, const MlpLayer<M> &layer, bool training, unsigned int first,
                            unsigned int count, unsigned long long drawn, float share)
    {
        const MlpRows<M> &rows = begin(pixels, training, first, count);
        layer.forward(memory, rows, weights, pixels);
        const Dropout dropout = {plan().seed, plan().trial, DROPOUT_PURPOSE(0), plan().dropout, units()};
        head.activate(plan().activation, dropout, training, first_unit(), drawn);
        __syncthreads();
        const unsigned int stride = 2 * M::SAMPLES * MLP_CLASSES, place = team.parity() * M::SAMPLES * MLP_CLASSES;
        const unsigned int block = blockIdx.x - team.rank;
        float *parts = team.size == 1 ? memory.logits : teams.parts + (size_t)block * stride + place;
        head.partial_logits(team.size == 1 ? parts : parts + (size_t)team.rank * stride);
        bool wish = false;
        if (threadIdx.x == 0 && team.rank == 0 && team.round % MLP_LOOK == 0) wish = fused_stopped(launch);
        leave |= team.meet(wish, &memory.word);
        head.cross_entropy(parts, team.size, stride, rows, count, launch.data->classes,
                           training ? plan().smoothing : 0.0f, share);
        __syncthreads();
    }

    // Adds up the chunk's losses: lane l takes samples l, l + 32, ...
    __device__ void add_losses(bool training)
    {
        if (threadIdx.x >= FUSED_LANES) return;
        double *sums = training ? memory.clock.train_loss : memory.clock.validation_loss;
        double sum = sums[threadIdx.x];
        unsigned int wrong = 0;
        for (unsigned int sample = threadIdx.x; sample < M::SAMPLES; sample += FUSED_LANES) {
            sum += memory.losses[sample];
            wrong += memory.wrong[sample];
        }
        sums[threadIdx.x] = sum;
        if (!training) memory.clock.wrong[threadIdx.x] += wrong;
    }

    // One step: trains on `rows` samples, or scores them. Its ticks are its chunks. `before` samples were
    // trained on so far.
    __device__ void step(bool training, unsigned int first, unsigned int rows, unsigned int chunks,
                         unsigned long long before)
    {
        Pixels<M> pixels(part(training).pixels, launch.data->inputs);
        const MlpLayer<M> layer(launch.data->inputs);
        const float share = 1.0f / (float)rows;
        head.clear();
#pragma unroll 1
        for (unsigned int chunk = 0; chunk < chunks; chunk++) {
            const unsigned int done = chunk * M::SAMPLES, count = min(M::SAMPLES, rows - done);
            forward(pixels, layer, training, first + done, count, before + done, share);
            add_losses(training);
            if (!training) continue;  // what reads the losses next is behind barriers
            head.head_gradients();
            __syncthreads();
            head.put_deltas();
            const bool last = chunk + 1 == chunks;
            if (last) head.update_head(velocities(), rule(true, true));
            __syncthreads();
            head.add_bias_gradient();
            if (last) head.update_bias(velocities(), rule(true, true));
            if (chunks > 1) spill(chunk, true);
        }
        if (training) backward(pixels, layer, first, rows, chunks);
    }

    __device__ MlpRule rule(bool first, bool last) const
    {
        const FusedPlan &plan = memory.plan;
        return MlpRule(memory.clock.learning_rate, plan.weight_decay, plan.momentum, plan.nesterov, first, last);
    }

    // The step of the first layer.
    __device__ void backward(Pixels<M> &pixels, const MlpLayer<M> &layer, unsigned int first, unsigned int rows,
                             unsigned int chunks)
    {
#pragma unroll 1
        for (unsigned int chunk = 0; chunk < chunks; chunk++) {
            const unsigned int done = chunk * M::SAMPLES, count = min(M::SAMPLES, rows - done);
            if (chunks > 1) spill(chunk, false);
            const MlpRows<M> &own = begin(pixels, true, first + done, count);
            // The rows of the next step, unless this one has to look up its own again.
            const unsigned int next = first + rows, all = part(true).count;
            const bool foresees = chunks == 1 && next < all;
            if (foresees)
                look_up(memory.rows[1 - turn], true, next, min(min(memory.plan.batch, all - next), M::SAMPLES));
            layer.backward(memory, own, weights, velocity, pixels, rule(chunk == 0, chunk + 1 == chunks));
            __syncthreads();
            if (!foresees) continue;
            turn = 1 - turn;
            held = next;
        }
    }

    // The deltas of a chunk, to the block's part of the trial's scratch memory or back.
    __device__ void spill(unsigned int chunk, bool away)
    {
        constexpr unsigned int FLOATS = M::UNITS * M::SAMPLES;
        const unsigned int chunks = (memory.plan.batch + M::SAMPLES - 1) / M::SAMPLES;
        float *there = memory.plan.scratch + ((size_t)team.rank * chunks + chunk) * FLOATS;
        __syncthreads();
#pragma unroll 1
        for (unsigned int i = threadIdx.x; i < FLOATS; i += M::THREADS) {
            float &here = memory.hidden[M::hidden(i / M::SAMPLES) + i % M::SAMPLES];
            if (away)
                there[i] = here;
            else
                here = there[i];
        }
        __syncthreads();
    }
};
