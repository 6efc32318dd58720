#!/usr/bin/env python3
"""An MLP's search space in JAX: each trial an epoch at a time as one jit-compiled lax.scan over its steps.

usage: jax_space.py --configs FILE.jsonl [--epochs 1] [--seed 0] [--gz DIR]
  --configs   one JSON object a line: learning_rate batch_size momentum activation (tanh|relu) units layers
needs: jax numpy. The training of torch_space.py: nn.Linear's initial values, mean cross-entropy, SGD with
momentum, a new order each epoch, the last partial batch kept; the test error after the last epoch.

No two trials of such a space have the same shapes, so vmap has nothing to batch, and nearly every trial is
compiled anew. Both are told: seconds with compilation, as a user waits, and without.
Prints a line a trial, then totals: wall= (with) run= (without compilation), trial-epochs/s of the latter.
"""
import argparse, gzip, json, os, time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

ap = argparse.ArgumentParser()
ap.add_argument("--configs", required=True)
ap.add_argument("--epochs", type=int, default=1)
ap.add_argument("--seed", type=int, default=0)
ap.add_argument("--gz", default="fashion-mnist")
A = ap.parse_args()


def idx(name, offset):
    with gzip.open(os.path.join(A.gz, name)) as f:
        return np.frombuffer(f.read(), np.uint8, offset=offset)


def part(name):
    labels = idx(f"{name}-labels-idx1-ubyte.gz", 8).astype(np.int32)
    pixels = idx(f"{name}-images-idx3-ubyte.gz", 16).reshape(len(labels), -1).astype(np.float32) / 255
    return jnp.asarray(pixels), jnp.asarray(labels)


(X, Y), (Xt, Yt) = part("train"), part("t10k")
ACTIVATIONS = dict(tanh=jnp.tanh, relu=jax.nn.relu)


def initial(key, sizes):
    layers = []
    for i, o in zip(sizes, sizes[1:]):
        key, a, b = jax.random.split(key, 3)
        bound = i ** -0.5
        uniform = partial(jax.random.uniform, minval=-bound, maxval=bound)
        layers.append((uniform(a, (i, o)), uniform(b, (o,))))
    return layers


def logits(activation, layers, x):
    for w, b in layers[:-1]:
        x = ACTIVATIONS[activation](x @ w + b)
    return x @ layers[-1][0] + layers[-1][1]


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=(2, 3))
def epoch(activation, batch, layers, velocity, rate, momentum, key, X, Y):
    order = jax.random.permutation(key, len(X))
    full = len(X) // batch * batch

    def loss(layers, x, y):
        z = jax.nn.log_softmax(logits(activation, layers, x))
        return -jnp.take_along_axis(z, y[:, None], 1).mean()

    def step(state, samples):
        layers, velocity = state
        g = jax.grad(loss)(layers, X[samples], Y[samples])
        velocity = jax.tree.map(lambda v, g: momentum * v + g, velocity, g)
        return (jax.tree.map(lambda p, v: p - rate * v, layers, velocity), velocity), None

    state, _ = lax.scan(step, (layers, velocity), order[:full].reshape(-1, batch))
    return state if full == len(X) else step(state, order[full:])[0]


@partial(jax.jit, static_argnums=0)
def wrong(activation, layers, X, Y):
    return (logits(activation, layers, X).argmax(1) != Y).sum()


configs = [json.loads(line) for line in open(A.configs) if line.strip()]
jax.block_until_ready((X, Y, Xt, Yt))
start, running = time.perf_counter(), 0.0
for i, c in enumerate(configs):
    begun = time.perf_counter()
    sizes = [X.shape[1]] + [int(c["units"])] * int(c["layers"]) + [10]
    key = jax.random.key(A.seed + i)
    layers = initial(key, sizes)
    velocity = jax.tree.map(jnp.zeros_like, layers)
    activation, batch = c["activation"], int(c["batch_size"])
    rate, momentum = jnp.float32(c["learning_rate"]), jnp.float32(c["momentum"])
    train = epoch.lower(activation, batch, layers, velocity, rate, momentum, key, X, Y).compile()
    score = wrong.lower(activation, layers, Xt, Yt).compile()
    jax.block_until_ready((layers, velocity))
    compiled = time.perf_counter()
    for key in jax.random.split(key, A.epochs):
        layers, velocity = train(layers, velocity, rate, momentum, key, X, Y)
    error = int(score(layers, Xt, Yt)) / len(Yt)
    ended = time.perf_counter()
    running += ended - compiled
    print(f"trial={i} {sizes} {activation} batch={batch} error={error:.4f} compile={compiled - begun:.2f}s run={ended - compiled:.2f}s", flush=True)
wall = time.perf_counter() - start
n = len(configs) * A.epochs
print(f"total trials={len(configs)} epochs={A.epochs} device={jax.devices()[0].device_kind} wall={wall:.2f} run={running:.2f} "
      f"trial-epochs/s={n / running:.3f} sample-updates/s={n * len(X) / running:.0f}")
