"""The bill: what networks and optimisers hold beside a training step."""

import os
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest

from networks import Network
from networks.chain import Chain
from networks.optimizers import SGD, Adam
from networks.planning.bill import bill

OPTIMIZERS = {"sgd": lambda: SGD(0.1), "momentum": lambda: SGD(0.1, momentum=0.9), "adam": Adam}


def array_bytes() -> int:
    """What NumPy's arrays hold; what the interpreter holds depends on what has run before."""
    arrays = tracemalloc.DomainFilter(inclusive=True, domain=np.lib.tracemalloc_domain)
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([arrays]).traces)


@pytest.mark.skipif("COVERAGE_RUN" in os.environ, reason="coverage allocates while tracemalloc counts")
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_bill_is_what_networks_and_optimisers_hold(optimizer, dtype):
    layers, batch = (64, 300, 200, 10), 32
    chain = Chain(layers, batch, np.dtype(dtype).itemsize)
    held = bill(chain, samples=None, optimizer=optimizer)
    network, updates = Network(layers, dtype=dtype), OPTIMIZERS[optimizer]()
    x, y = np.ones((batch, layers[0]), dtype), np.zeros(batch, int)
    outputs = network.forward(x)
    deltas = network.backward(y)
    assert held.parameters_bytes == sum(array.nbytes for pair in network.parameters for array in pair)
    assert held.data_bytes == x.nbytes + y.nbytes
    tracemalloc.start()
    updates.update(network.parameters, deltas)
    state = array_bytes()
    updates.update(network.parameters, deltas)
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    updates.update(network.parameters, deltas)
    temporary = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert held.optimizer_state_bytes == state
    there = sum(array.nbytes for pair in deltas for array in pair) + outputs.nbytes
    largest = max(inputs * outputs for inputs, outputs in pairwise(layers)) * chain.itemsize
    assert held.update_bytes - there == pytest.approx(temporary, abs=4 * 1024)
    assert held.update_bytes - there <= largest


def test_more_samples_than_a_batch_are_data_with_their_order_and_a_copy_of_one_batch():
    held = bill(Chain((64, 10), 32, 4), samples=1000, optimizer="sgd")
    x, y, order = np.ones((1000, 64), "float32"), np.zeros(1000, int), np.arange(1000)
    assert held.data_bytes == x.nbytes + y.nbytes + order.nbytes + x[:32].nbytes + y[:32].nbytes
