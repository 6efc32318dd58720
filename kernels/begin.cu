// begin: closes every trial's last step and opens its next one.
//
// A trial trains an epoch in steps of `batch` samples, then scores the validation samples in steps of
// `capacity`, then idles until the host's command names the next epoch. No host decision is needed within
// an epoch, so a graph of many ticks runs without one, and no trial waits for another.
//
//   plans [trials], commands [trials], clocks [trials]; one block a trial
//
// The losses of the closed step are added in float64 in an order that only its number of rows decides:
// thread t takes rows t, t + 128, ..., then the 128 sums are added as a tree.
//
// Cost: 4 bytes read a row (12 when scoring), a clock of 112 bytes read and written a trial; two Philox blocks a trial and epoch.
// registers: at most 40

#include "layout.cuh"
#include "shuffle.cuh"
#include "trial.cuh"

#define BEGIN_THREADS 128

// Starts the epoch that the host has asked for, if it has.
__device__ static void start_epoch(const Plan &plan, const Command &command, Clock &clock)
{
    if (command.epoch != clock.finished + 1) return;
    clock.phase = TRAINING;
    clock.first = 0;
    clock.wrong = 0;
    clock.train_loss = 0.0;
    clock.validation_loss = 0.0;
    clock.rule = command.rule;
    shuffle_keys(plan.seed, plan.shuffle_trial, clock.finished, clock.keys);
}

// Books what the closed step came to and moves past its rows.
__device__ static void close_step(const Data &data, Clock &clock, double loss, unsigned int wrong)
{
    const unsigned int rows = clock.step.rows;
    clock.first += rows;
    if (clock.phase == TRAINING) {
        clock.train_loss += loss;
        clock.step.before += rows;
        if (clock.first == data.training.count) {
            clock.phase = SCORING;
            clock.first = 0;
        }
    } else {
        clock.validation_loss += loss;
        clock.wrong += wrong;
        if (clock.first == data.validation.count) {
            clock.phase = IDLE;
            clock.finished += 1;
        }
    }
}

__device__ static void open_step(const Plan &plan, const Data &data, Clock &clock)
{
    unsigned int rows = 0;
    if (clock.phase == TRAINING) rows = min(plan.batch, data.training.count - clock.first);
    if (clock.phase == SCORING) rows = min(plan.capacity, data.validation.count - clock.first);
    clock.step.rows = rows;
    clock.step.training = clock.phase == TRAINING;
    clock.learning = clock.step;
    if (clock.phase != TRAINING) clock.learning.rows = 0;
}

extern "C" __global__ void __launch_bounds__(BEGIN_THREADS)
begin(const Plan *plans, const Command *commands, Clock *clocks, const Data *data)
{
    const Plan &plan = plans[blockIdx.x];
    Clock &clock = clocks[blockIdx.x];
    const unsigned int rows = clock.step.rows, thread = threadIdx.x;
    __shared__ double losses[BEGIN_THREADS];
    __shared__ unsigned int wrongs[BEGIN_THREADS];
    if (rows > 0) {
        const bool scoring = !clock.step.training;
        double loss = 0.0;
        unsigned int wrong = 0;
        for (unsigned int row = thread; row < rows; row += BEGIN_THREADS) {
            loss += plan.losses[row];
            if (scoring) wrong += plan.predicted[row] != plan.labels[row];
        }
        losses[thread] = loss;
        wrongs[thread] = wrong;
        for (unsigned int half = BEGIN_THREADS / 2; half > 0; half /= 2) {
            __syncthreads();
            if (thread < half) {
                losses[thread] += losses[thread + half];
                wrongs[thread] += wrongs[thread + half];
            }
        }
    }
    // Where the trial idled, all threads read `rows` before thread 0 may change it.
    __syncthreads();
    if (thread > 0) return;
    if (rows > 0) close_step(*data, clock, losses[0], wrongs[0]);
    if (clock.phase == IDLE) start_epoch(plan, commands[blockIdx.x], clock);
    open_step(plan, *data, clock);
}

// How the structs lie in memory, to be compared with the host's.
extern "C" __device__ const unsigned int Command_layout[] = {
    sizeof(Command), offsetof(Command, rule), offsetof(Command, epoch)};
extern "C" __device__ const unsigned int Clock_layout[] = {
    sizeof(Clock), offsetof(Clock, step), offsetof(Clock, learning),
    offsetof(Clock, phase), offsetof(Clock, first),
    offsetof(Clock, finished), offsetof(Clock, wrong),
    offsetof(Clock, rule),
    offsetof(Clock, train_loss), offsetof(Clock, validation_loss),
    offsetof(Clock, keys)};
extern "C" __device__ const unsigned int Plan_layout[] = {
    sizeof(Plan), offsetof(Plan, seed), offsetof(Plan, inputs),
    offsetof(Plan, labels), offsetof(Plan, logits), offsetof(Plan, delta),
    offsetof(Plan, losses), offsetof(Plan, predicted),
    offsetof(Plan, input_stride), offsetof(Plan, class_stride),
    offsetof(Plan, batch), offsetof(Plan, capacity),
    offsetof(Plan, shuffled), offsetof(Plan, shuffle_trial),
    offsetof(Plan, smoothing), offsetof(Plan, pad)};
extern "C" __device__ const unsigned int Rule_layout[] = {
    sizeof(Rule), offsetof(Rule, learning_rate), offsetof(Rule, momentum),
    offsetof(Rule, weight_decay), offsetof(Rule, nesterov)};
extern "C" __device__ const unsigned int Samples_layout[] = {
    sizeof(Samples), offsetof(Samples, pixels), offsetof(Samples, labels),
    offsetof(Samples, count), offsetof(Samples, pad)};
extern "C" __device__ const unsigned int Data_layout[] = {
    sizeof(Data), offsetof(Data, training), offsetof(Data, validation),
    offsetof(Data, inputs), offsetof(Data, classes)};
extern "C" __device__ const unsigned int Tile_layout[] = {
    sizeof(Tile), offsetof(Tile, of), offsetof(Tile, first)};
