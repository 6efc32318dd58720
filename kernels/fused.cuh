// What every persistent training kernel shares: its trials, and how it talks with the host while it runs.
// The same structs are in src/engine/cuda/launch/fused.rs; the host's end is src/engine/cuda/fused/.
//
// A launch fills the GPU with blocks. A block takes a *call*, one epoch of one trial, trains and scores it,
// writes the trial's state back, *reports*, and takes the next call. The host reads reports while blocks
// train and answers each with a call of the trial's next epoch, or with none. So:
//
//   - a trial that waits for its answer occupies no block: whatever else was called is trained meanwhile;
//   - between two epochs a trial's state lies whole in global memory, where the host copies it from;
//   - which block trains an epoch changes no number, and blocks never wait for each other.
//
//   host                                   mapped memory                block
//   write calls[called % capacity]    ->   calls, desk.called      ->   compare with taken, advance it (CAS)
//   read reports[trial].epoch         <-   reports                 <-   state, fence, metrics, fence, epoch
//   write desk.stop                   ->   desk.stop               ->   leave at the next step
//
// A launch ends: a block leaves when it has spent its budget of ticks (a kernel says what a tick is), at the
// latest after the step it is in, with the epoch's rest of the trial in its clock. The host calls what was
// taken and not reported once more, and the next launch goes on where the clock stands.
//
// The ring of calls has room for one of each trial, and a trial is called again only when it has reported or
// the launch is over. A call is read before it is taken: until then the host cannot write its place again.
#pragma once

#include "shuffle.cuh"
#include "trial.cuh"

#define FUSED_LANES 32  // partial sums of an epoch: one for each lane of the warp that adds up losses

// A linear layer of a trial: where its tensors lie, as the layered path lays them out.
struct FusedLayer {
    float *weight, *bias;                    // [inputs][stride], [stride]
    float *weight_velocity, *bias_velocity;  // likewise; null without momentum
    unsigned int inputs, outputs, stride, pad;
};

// What never changes while a trial's group stands.
struct FusedPlan {
    unsigned long long seed;
    FusedLayer layers[2];  // from the pixels on; of a model without hidden layers only the first is set
    float *scratch;        // as many floats as the kernel's host side asked for, or null
    unsigned int trial;    // the trial's number: whose dropout it is
    unsigned int batch;    // samples of a training step
    unsigned int shuffled, shuffle_trial;  // as in Plan
    unsigned int nesterov;
    float momentum, weight_decay, smoothing;
    unsigned int activation;  // of the hidden layer: an Activation of activation.cuh, or 0
    float dropout;            // probability that a hidden value is dropped while training
    unsigned int pad[2];
};

// A trial's place in time, in global memory while no block trains it. All zeros: before the first epoch.
struct FusedClock {
    unsigned long long before;  // samples trained on so far, in all epochs
    unsigned int phase;         // a Phase
    unsigned int first;         // place in the phase of the next step's first sample
    unsigned int finished;      // epochs trained and scored
    float learning_rate;        // of this epoch
    unsigned int keys[8];       // round keys of this epoch's shuffle
    double train_loss[FUSED_LANES], validation_loss[FUSED_LANES];  // sums over this epoch's samples so far
    unsigned int wrong[FUSED_LANES];
};

// Epoch `epoch` (from 1) of a trial may be trained, at this learning rate. Written by the host.
struct FusedCall {
    unsigned int trial;  // its place in the tables
    unsigned int epoch;
    float learning_rate;
    unsigned int pad;
};

// Written by the host.
struct FusedDesk {
    unsigned int called;  // calls written so far, modulo 2^32
    unsigned int stop;    // 1: leave at the next step
};

// What the last epoch of a trial came to. Written by the block that trained it, `epoch` last.
struct FusedReport {
    double train_loss, validation_loss;  // sums over the samples
    unsigned int wrong;
    unsigned int epoch;
};

// The argument of every fused kernel.
struct FusedLaunch {
    const FusedPlan *plans;  // [trials]
    FusedClock *clocks;      // [trials]
    const Data *data;
    const FusedCall *calls;  // [capacity], mapped
    const FusedDesk *desk;   // mapped
    FusedReport *reports;    // [trials], mapped
    unsigned int *taken;     // calls taken so far, modulo 2^32
    unsigned int capacity;   // a power of two
    unsigned int budget;     // ticks that a block may spend
    unsigned int patience;   // looks at an empty queue before a block leaves
    unsigned int pad;
};

// Between two looks at an empty queue: a look is a read over the bus, a microsecond or two.
#define FUSED_PAUSE_NS 2000

__device__ inline bool fused_stopped(const FusedLaunch &launch)
{
    return ((const volatile FusedDesk *)launch.desk)->stop != 0;
}

// Takes the next call. To be asked by one thread; false: the block is to leave.
__device__ inline bool fused_take(const FusedLaunch &launch, FusedCall &call)
{
    unsigned int looks = 0;
    while (!fused_stopped(launch)) {
        const unsigned int next = *(volatile unsigned int *)launch.taken;
        if (next != ((const volatile FusedDesk *)launch.desk)->called) {
            __threadfence_system();  // the call was written before it was counted
            const volatile FusedCall *written = launch.calls + (next & (launch.capacity - 1));
            call.trial = written->trial;
            call.epoch = written->epoch;
            call.learning_rate = written->learning_rate;
            if (atomicCAS(launch.taken, next, next + 1) == next) {
                __threadfence();  // the state as the block that had the trial before left it
                return true;
            }
        } else {
            if (looks == launch.patience) return false;
            looks++;
            __nanosleep(FUSED_PAUSE_NS);
        }
    }
    return false;
}

// Opens the epoch that was called, unless an earlier launch did. To be called by one thread.
__device__ inline void fused_open(const FusedPlan &plan, const FusedCall &call, FusedClock &clock)
{
    if (clock.phase != IDLE || call.epoch != clock.finished + 1) return;
    clock.phase = TRAINING;
    clock.first = 0;
    clock.learning_rate = call.learning_rate;
    shuffle_keys(plan.seed, plan.shuffle_trial, clock.finished, clock.keys);
    for (unsigned int lane = 0; lane < FUSED_LANES; lane++) {
        clock.train_loss[lane] = 0.0;
        clock.validation_loss[lane] = 0.0;
        clock.wrong[lane] = 0;
    }
}

// Ends an epoch and tells the host. To be called by one thread, behind a barrier that all writes of the
// trial's state and sums are before.
__device__ inline void fused_report(const FusedLaunch &launch, unsigned int trial, FusedClock &clock)
{
    double train_loss = 0.0, validation_loss = 0.0;
    unsigned int wrong = 0;
    for (unsigned int lane = 0; lane < FUSED_LANES; lane++) {
        train_loss += clock.train_loss[lane];
        validation_loss += clock.validation_loss[lane];
        wrong += clock.wrong[lane];
    }
    clock.phase = IDLE;
    clock.finished += 1;
    volatile FusedReport *report = launch.reports + trial;
    report->train_loss = train_loss;
    report->validation_loss = validation_loss;
    report->wrong = wrong;
    __threadfence_system();
    report->epoch = clock.finished;
}
