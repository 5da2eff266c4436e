"""The floors that a step is measured against."""

from itertools import pairwise

import numpy as np
import pytest

from benchmarks.step import CASES, memory_floor_bytes
from benchmarks.step_worker import bare_products, layers_of, measure, multiply, run_kernels, training_step
from networks import dry_run
from networks.chain import Chain
from networks.losses import outputs_to_delta
from networks.workspace import Workspace


def test_the_memory_floor_of_a_small_chain_is_the_one_worked_out_by_hand():
    """[4, 5, 5, 5, 3], batch 10, 1 byte a value: afters of 50, outputs of 30, parameter deltas of 25, 30, 30 and 18."""
    chain = Chain((4, 5, 5, 5, 3), 10, itemsize=1)
    # layer 4: after 1..3, delta 4; layer 3: after 1..2, delta 3; layer 2: after 1, delta 2
    assert memory_floor_bytes(chain, None) == max(150 + 30 + 18, 100 + 50 + 48, 50 + 50 + 78, 50 + 103)
    # layer 4: after 2 and 3; layer 3: after 2; layer 2: after 1, which is recomputed
    assert memory_floor_bytes(chain, 2) == max(100 + 30 + 18, 50 + 50 + 48, 50 + 50 + 78, 50 + 103)
    # layer 4: after 3; layer 3: after 1 and 2, which are recomputed; layer 2: after 1
    assert memory_floor_bytes(chain, 4) == max(50 + 30 + 18, 100 + 50 + 48, 50 + 50 + 78, 50 + 103)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("frequency", [None, 2, 16])
def test_no_step_is_below_its_memory_floor(name: str, frequency: int | None):
    chain = CASES[name].chain
    trace = dry_run(chain.layers, batch=chain.batch, checkpoint_frequency=frequency)
    assert trace.peak_bytes >= memory_floor_bytes(chain, frequency)


@pytest.mark.parametrize("frequency", [None, 2, 3, 16])
def test_the_bare_products_do_the_work_of_the_step_in_its_buffers(frequency: int | None):
    layers, batch = [3, 8, 8, 8, 8, 5, 2], 6
    network, step = training_step(layers, batch, frequency)
    step()
    products = bare_products(network.tracker.timeline, layers, batch)
    multiply(products)

    flops = sum(2 * one.left.size * one.right.shape[1] for one in products)
    forward = sum(2 * batch * inputs * outputs for inputs, outputs in pairwise(layers))
    assert flops == network.tracker.forward_flops + 2 * forward - 2 * batch * layers[0] * layers[1]
    buffers = {id(one.out) for one in products if one.left.flags.c_contiguous}
    afters = len(layers) - 1 if frequency is None else network.tracker.peak_cached_layers + 4
    assert len(buffers) <= afters + 1
    assert all(np.isfinite(one.out).all() for one in products)


@pytest.mark.parametrize("frequency", [None, 2, 3, 16])
def test_the_kernels_alone_compute_the_gradients_of_the_step(frequency: int | None):
    layers, batch = [3, 8, 8, 8, 8, 5, 2], 6
    network, step = training_step(layers, batch, frequency)
    outputs, deltas = step()
    products = bare_products(network.tracker.timeline, layers, batch)
    by_action = {(one.action, one.layer): one for one in products}
    # The products' own input, and the delta of the loss that they begin with, are made to be the step's.
    generator = np.random.default_rng(0)
    by_action["forward", 1].left[:] = generator.standard_normal((batch, layers[0]), dtype=network.dtype)
    labels = generator.integers(layers[-1], size=batch)
    loss_delta = by_action["parameter_deltas", len(layers) - 1].right
    loss_delta[:] = outputs
    outputs_to_delta(loss_delta, labels, batch)
    workspace = Workspace(Chain(tuple(layers), batch, itemsize=4), network.dtype)
    run_kernels(layers_of(network), products, workspace, np.empty(max(layers), network.dtype))
    for layer, (weights_delta, _) in enumerate(deltas, start=1):
        np.testing.assert_array_equal(by_action["parameter_deltas", layer].out, weights_delta)


def test_a_configuration_is_measured_by_time_or_by_memory():
    configuration = {"layers": [4, 8, 8, 3], "batch": 5, "checkpoint_frequency": 2, "threads": 1}
    timed = measure(**configuration, repeats=3)
    assert timed.keys() == {"step_seconds", "floor_seconds", "kernel_seconds", "kernel_floor_seconds"}
    assert [len(seconds) for seconds in timed.values()] == [3, 3, 3, 3]
    assert measure(**configuration, repeats=0)["peak_bytes"] > memory_floor_bytes(Chain((4, 8, 8, 3), 5, 4), 2)
