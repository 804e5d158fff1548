"""Compiled kernel of decisions one after the other: a chain for one task at a time, and what it sends where.

Vectors run along a layer's outputs, so weights lie transposed: (inputs, outputs).
"""

from __future__ import annotations

import numpy as np

from lad_rllib.kernels.compiler import kernel, part
from lad_rllib.kernels.mlp import Array
from lad_rllib.kernels.softmax import exp_of_negative


@part
def transposed_layers(parameters: Array, sizes: Array) -> tuple[Array, Array]:
    """Weights (L, in, out) and biases (L, out) of a network's packed parameters, zeros where a layer is smaller."""
    layers, widest = len(sizes) - 1, sizes.max()
    weights, biases = np.zeros((layers, widest, widest), np.float32), np.zeros((layers, widest), np.float32)
    start = 0
    for layer in range(layers):
        fan_in, fan_out = sizes[layer], sizes[layer + 1]
        for row in range(fan_out):
            for column in range(fan_in):
                weights[layer, column, row] = parameters[start + row * fan_in + column]
            biases[layer, row] = parameters[start + fan_in * fan_out + row]
        start += (fan_in + 1) * fan_out
    return weights, biases


@part
def add_product(out: Array, weight: Array, x: Array) -> None:
    """``out += weight.T @ x`` for weights (inputs, outputs)."""
    for k in range(len(x)):
        factor, row = x[k], weight[k]
        for j in range(len(out)):
            out[j] += factor * row[j]


@part
def of_network(parameters: Array, sizes: Array, embeddings: Array) -> tuple[Array, Array, Array]:
    """:func:`transposed_layers`, and the first layer's bias with the embedding of each step, shape (I, outputs)."""
    weights, biases = transposed_layers(parameters, sizes)
    of_steps = np.zeros((embeddings.shape[1], sizes[1]), np.float32)
    for k in range(embeddings.shape[1]):
        of_steps[k] = biases[0, : sizes[1]]
        add_product(of_steps[k], weights[0, sizes[-1] :], np.ascontiguousarray(embeddings[:, k]))
    return weights, biases, of_steps


@part
def softmax_of(x: Array, out: Array) -> None:
    """Softmax of one vector."""
    greatest, total = x.max(), np.float32(0.0)
    for j in range(len(x)):
        out[j] = exp_of_negative(x[j] - greatest)
        total += out[j]
    for j in range(len(x)):
        out[j] /= total


@part
def chosen_server(probabilities: Array, logits: Array, uniform: np.float32) -> int:
    """The first server whose cumulative probability exceeds ``uniform``; below 0: the most probable one."""
    if uniform < 0:
        return int(np.argmax(logits))
    cumulative = np.float32(0.0)
    for server in range(len(probabilities) - 1):
        cumulative += probabilities[server]
        if cumulative > uniform:
            return server
    return len(probabilities) - 1


@part
def denoise(
    x: Array,
    seen: Array,
    weights: Array,
    biases: Array,
    of_steps: Array,
    steps: Array,
    sizes: Array,
    softmax_output: bool,
    limit: np.float32,
    hidden: Array,
) -> None:
    """From what a chain starts from to ``x_0``, in place, without fresh noise.

    Args:
        x: ``x_I`` (A,).
        seen: What the denoiser sees of the state.
        weights: See :func:`transposed_layers`.
        biases: See :func:`transposed_layers`.
        of_steps: First layer's bias and embedding of each step, shape (I, outputs).
        steps: See :func:`~lad_rllib.kernels.chain.run_chains`.
        sizes: Widths of the layers.
        softmax_output: Whether a softmax ends the denoiser.
        limit: See :func:`~lad_rllib.kernels.chain.run_chains`.
        hidden: Scratch, shape (L + 1, greatest width).
    """
    layers, actions, first = len(sizes) - 1, len(x), sizes[1]
    from_state = hidden[layers][:first]
    from_state[:] = 0.0
    add_product(from_state, weights[0, sizes[0] - len(seen) :], seen)
    for k in range(len(steps)):
        present = hidden[0][:first]
        for j in range(first):
            present[j] = of_steps[k, j] + from_state[j]
        add_product(present, weights[0], x)
        for layer in range(1, layers):
            following = hidden[layer][: sizes[layer + 1]]
            for j in range(len(present)):
                present[j] = max(present[j], np.float32(0.0))
            following[:] = biases[layer, : len(following)]
            add_product(following, weights[layer], present)
            present = following
        if softmax_output:
            softmax_of(present, present)
        for a in range(actions):
            if limit < np.inf:
                clean = steps[k, 3] * x[a] - steps[k, 4] * present[a]
                clean = min(max(clean, -limit), limit)
                x[a] = steps[k, 6] * x[a] + steps[k, 5] * clean
            else:
                x[a] = steps[k, 0] * x[a] - steps[k, 1] * present[a]


_NETWORK = "float32[:, ::1], int64[::1], float32[:, ::1], float32[:, ::1], boolean, float32"
_FLEET = "float32[::1], float32[::1], float32[::1], float32"
_TASKS = "float32[:, :, :, ::1], int64[:, ::1], float32[:, ::1], float32[:, :, :, ::1], float32[:, :, ::1]"
_DECISIONS = "int64[:, :, ::1], float32[:, :, :, ::1], float32[:, :, :, ::1], float32[:, :, :, ::1]"


@kernel(f"void({_NETWORK}, {_FLEET}, boolean, {_TASKS}, {_DECISIONS})")
def run_in_order(
    parameters: Array,
    sizes: Array,
    embeddings: Array,
    steps: Array,
    softmax_output: bool,
    limit: np.float32,
    log_capacity: Array,
    waiting_per_work: Array,
    task_scale: Array,
    queue_weight: np.float32,
    only_own: bool,
    tasks: Array,
    counts: Array,
    queues: Array,
    starts: Array,
    uniform: Array,
    servers: Array,
    logits: Array,
    probabilities: Array,
    seen_queues: Array,
) -> None:
    """Decide the tasks of E slots one after the other, see :func:`~.in_slot.decide_in_order`.

    Args:
        parameters: Packed parameters of the denoisers (G, P): one of all stations, or one of each.
        sizes: Widths of its layers.
        embeddings: Embedding of each step (embedding size, I).
        steps: Coefficients of the steps, see :func:`~lad_rllib.kernels.chain.run_chains`.
        softmax_output: Whether a softmax ends the denoiser.
        limit: Greatest magnitude of the estimates of ``x_0``, infinite for none.
        log_capacity: The prior's logits of servers without a queue (A,).
        waiting_per_work: By how much a Gcycle lengthens each server's queue (A,).
        task_scale: What input size and workload are divided by (2,).
        queue_weight: By how much the prior's logit falls for each slot of waiting time.
        only_own: Tasks see their own station's earlier ones alone.
        tasks: Input size and workload (E, B, N, 2).
        counts: Tasks of each station (E, B).
        queues: Slot-start queues (E, A).
        starts: What chains start from (E, B, N, A).
        uniform: Random numbers (E, B, N), or below 0 for the most probable servers.
        servers: Filled with the servers (E, B, N).
        logits: Filled with the logits (E, B, N, A).
        probabilities: Filled with their softmax.
        seen_queues: Filled with the queues that each decision was based on.
    """
    actions, layers, now = sizes[-1], len(sizes) - 1, queues.copy()
    weights, biases, of_steps = of_network(parameters[0], sizes, embeddings)
    hidden = np.zeros((layers + 1, sizes.max()), np.float32)
    seen, x = np.empty(2 + actions, np.float32), np.empty(actions, np.float32)
    for station in range(tasks.shape[1]):
        if station > 0 and len(parameters) > 1:
            weights, biases, of_steps = of_network(parameters[station], sizes, embeddings)
        if only_own:
            now[:] = queues
        for episode in range(len(tasks)):
            for task in range(counts[episode, station]):
                work = tasks[episode, station, task, 1]
                seen[0] = tasks[episode, station, task, 0] / task_scale[0]
                seen[1] = work / task_scale[1]
                for a in range(actions):
                    seen[2 + a] = np.log1p(now[episode, a])
                    x[a] = starts[episode, station, task, a]
                    seen_queues[episode, station, task, a] = now[episode, a]
                denoise(x, seen, weights, biases, of_steps, steps, sizes, softmax_output, limit, hidden)
                of_task, chances = logits[episode, station, task], probabilities[episode, station, task]
                for a in range(actions):
                    of_task[a] = x[a] + log_capacity[a] - queue_weight * now[episode, a]
                softmax_of(of_task, chances)
                server = chosen_server(chances, of_task, uniform[episode, station, task])
                servers[episode, station, task] = server
                now[episode, server] += waiting_per_work[server] * work
