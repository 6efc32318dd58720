// What the kernels know of a trial: its plan, which never changes while its array stands, and its clock,
// which `begin` moves on at every tick. The same structs are in src/engine/cuda/launch/trial.rs.
#pragma once
#include "rule.cuh"
#include "step.cuh"

// What the host decided last: epoch `epoch` (from 1) may be trained, by this rule.
struct Command {
    Rule rule;
    unsigned int epoch;
};

enum Phase { IDLE = 0, TRAINING = 1, SCORING = 2 };

struct Clock {
    Step step;              // first, so that a clock's address is its step's
    Step learning;          // the same, but without rows where the step is scored: what gradients read
    unsigned int phase;     // a Phase
    unsigned int first;     // place in the phase of the step's first sample
    unsigned int finished;  // epochs trained and scored
    unsigned int wrong;     // validation samples found wrong so far in this epoch
    Rule rule;              // of this epoch
    double train_loss;       // sum over the epoch's samples so far
    double validation_loss;  // likewise
    unsigned int keys[8];    // round keys of this epoch's shuffle
};

struct Plan {
    unsigned long long seed;
    float *inputs;            // [capacity][input_stride]  the batch's pixels
    unsigned int *labels;     // [capacity]
    const float *logits;      // [capacity][class_stride]
    float *delta;             // [capacity][class_stride]  gradient of the loss at the logits
    float *losses;            // [capacity]
    unsigned int *predicted;  // [capacity]
    unsigned int input_stride, class_stride;
    unsigned int batch;          // samples of a training step
    unsigned int capacity;       // samples of a scoring step; at least `batch`
    unsigned int shuffled;       // 0: the order of the files
    unsigned int shuffle_trial;  // whose order it is
    float smoothing;             // of labels
    unsigned int pad;
};

// One part of the data set, as it was uploaded.
struct Samples {
    const unsigned char *pixels;  // [count][inputs]
    const unsigned char *labels;  // [count]
    unsigned int count, pad;
};

struct Data {
    Samples training, validation;
    unsigned int inputs, classes;
};

// A block's work: a trial (or tensor) and where in it the block begins.
struct Tile {
    unsigned int of, first;
};
