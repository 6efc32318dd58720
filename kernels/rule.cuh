// One step of torch.optim.SGD for one value:
//
//   g += weight_decay * w;  v = momentum * v + g  (v = 0 at first);  g = nesterov ? g + momentum * v : v
//   w -= learning_rate * g
#pragma once

// A trial's hyperparameters of this epoch. The same struct is in src/engine/cuda/launch/trial.rs.
struct Rule {
    float learning_rate, momentum, weight_decay;
    unsigned int nesterov;
};

// Where there is no momentum, `v` begins as zero at every step, and comes to the gradient.
__device__ inline void step_value(const Rule &rule, float &w, float &v, float g)
{
    g = fmaf(rule.weight_decay, w, g);
    v = fmaf(rule.momentum, v, g);
    w = fmaf(-rule.learning_rate, rule.nesterov ? fmaf(rule.momentum, v, g) : v, w);
}
