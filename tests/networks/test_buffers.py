"""Buffers: which are mappings of their own, and that a step keeps no more resident than it asks for."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from harness.experiment.prediction import trace_of
from networks import Network, NetworkWithCheckpointing, buffers
from networks.buffers import activation_buffer, parameter_delta_buffers
from networks.chain import MAPPED_BYTES, Chain, block_rows
from networks.optimizers import SGD
from networks.planning.allowance import MAPPING_ALLOWANCE, allowance_bytes
from tests.support.cells import measured, store_all_cell
from tests.support.strategies import random_data

HOLED = replace(
    store_all_cell("64,256x24,10", batch=500),
    network="NetworkWithCheckpointing",
    checkpoint_frequency=3,
    recompute="segment",
)
"""A layer's parameter deltas take little more than half of the place of an after: a heap would waste the rest."""

MIB = 2**20


@pytest.mark.parametrize("step", [{}, {"step": "train_step", "micro_batch": 450}], ids=["backward", "by parts"])
def test_a_step_keeps_no_more_resident_than_it_asks_for(step):
    cell = replace(HOLED, **step)
    assert cell.chain.maps_buffers
    predicted = trace_of(cell).peak_bytes
    (rows,) = measured("resident", cell, repeats=2, allocator="glibc")
    assert max(row["resident_peak_bytes"] for row in rows) < predicted + MIB


def test_the_allowance_covers_mappings():
    ((row,),) = measured("memory", HOLED)
    trace = trace_of(HOLED)
    assert row["tracker_peak_bytes"] == trace.peak_bytes
    assert 0 < row["memray_peak_bytes"] - trace.peak_bytes <= allowance_bytes(trace)
    assert sys.getsizeof(buffers._mapping(MAPPED_BYTES)) <= MAPPING_ALLOWANCE


@pytest.mark.parametrize(
    ("layers", "batch", "options", "mapped"),
    [
        ((64, 512, 512, 10), 1024, {}, True),
        ((64, 512, 512, 10), 1024, {"deltas_pile_up": False}, False),  # a layer's are gone before the next
        ((64, 512, 512, 10), 1024, {"deltas_pile_up": False, "part_of": 2048}, True),  # all layers' are added up
        ((64, 512, 512, 10), 512, {}, False),  # but for the first layer's they are larger than an after
        ((64, 128, 128, 10), 4096, {}, False),  # and small ones fill it
        ((256, 256, 256, 10), 10**6, {}, False),  # as do those that are small beside it
    ],
)
def test_buffers_are_mapped_where_deltas_that_stay_are_large_and_smaller_than_an_after(layers, batch, options, mapped):
    assert Chain(layers, batch, 4, **options).maps_buffers is mapped


@pytest.mark.parametrize("network", [Network, lambda layers: NetworkWithCheckpointing(layers, checkpoint_frequency=2)])
def test_mapped_or_not_the_gradients_are_the_same_bit_for_bit(network, monkeypatch):
    layers, batch = [20, 200, 200, 200, 200, 10], 256
    x, y = random_data(layers, batch)

    def gradients() -> list[np.ndarray]:
        one = network(layers)
        one.forward(x)
        return [array for pair in one.backward(y) for array in pair]

    assert Chain(tuple(layers), batch, 4).maps_buffers
    mapped = gradients()
    monkeypatch.setattr(Chain, "maps_buffers", False)
    for array, other in zip(mapped, gradients(), strict=True):
        np.testing.assert_array_equal(array, other)


def test_gradients_that_are_kept_keep_no_other():
    """Biases' deltas, kept alone, do not hold the memory of the weights' deltas."""
    _, biases_delta = parameter_delta_buffers(500, 600, np.dtype("float32"), mapped=True)
    assert biases_delta.base is None


@pytest.mark.parametrize(
    ("batch", "width", "rows"),
    [
        (4096, 128, 1024),  # 512 KiB
        (4096, 96, 1024),  # a quarter
        (1437, 128, 480),  # a third, whole tiles
        (256, 512, 256),
        (1024, 1024, 512),  # half the width, 2 MiB
        (600, 1024, 300),  # half the batch
        (4096, 8192, 256),  # wider, 2 MiB would be 64 rows
        (100, 8192, 100),
    ],
)
def test_a_block_is_a_small_part_of_a_large_batch(batch, width, rows):
    assert block_rows(batch, width, 4) == rows


def test_outputs_of_many_classes_need_no_block_of_their_own():
    assert Chain((64, 128, 10_000), 1024, 4).workspace_items[-1] == block_rows(1024, 128, 4) * 128


def test_a_mapping_that_cannot_be_had_is_a_memory_error(monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(buffers.mmap, "mmap", refuse)
    monkeypatch.setattr(buffers.sys, "platform", "linux")
    for make in (activation_buffer, parameter_delta_buffers):
        with pytest.raises(MemoryError, match=r"Unable to allocate 1\.1\d MiB as a mapping: Cannot allocate memory"):
            make(500, 600, np.dtype("float32"), mapped=True)


def test_elsewhere_than_on_linux_nothing_is_mapped(monkeypatch):
    monkeypatch.setattr(buffers.sys, "platform", "darwin")
    monkeypatch.delattr(buffers.mmap, "mmap")
    after = activation_buffer(500, 600, np.dtype("float32"), mapped=True)
    weights, biases = parameter_delta_buffers(500, 600, np.dtype("float32"), mapped=True)
    assert (after.shape, weights.shape, biases.shape) == ((500, 600), (500, 600), (600,))


def test_a_network_is_usable_after_a_mapping_has_failed(monkeypatch):
    layers, batch = [20, 200, 200, 10], 256
    x, y = random_data(layers, batch)
    network = Network(layers)

    def refuse(nbytes: int) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(buffers, "_mapping", refuse)
        with pytest.raises(MemoryError):
            network.forward(x)
    network.train_step(x, y, SGD(learning_rate=0.1))
    network.forward(x)
    assert len(network.backward(y)) == 3
