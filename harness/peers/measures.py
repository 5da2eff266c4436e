"""What a worker measures of peers, and of this project's own cells beside them."""

import importlib
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from harness import probes
from harness.cell import Cell, Job
from harness.peers.base import Peer, Product, gradient_error
from harness.steps import Step

Row = dict[str, Any]

LEAST_REPEATS = 5
CHECKED_ROWS = 64
TOLERANCE = 1e-4
"""How far a gradient may lie from ours, relative to it, both as Euclidean norms of a layer's array."""
ANY_NUMBER = sys.float_info.max
"""What is asked of it in single precision: that there is an error to tell."""


def checked_peer(cell: Cell) -> tuple[Peer, float]:
    """The cell's step, warmed up, and the error of its gradients in double precision.

    A deep network of rectifiers magnifies rounding: at 256 layers, gradients in single precision are some percent off,
    whoever computes them. So the same code is checked in double precision first, on a few rows.

    Raises:
        RuntimeError: the error is above `TOLERANCE`: the peer computes something else.
    """
    double = replace(cell, dtype="float64", batch=min(cell.batch, CHECKED_ROWS))
    error = _gradient_error(build_peer(double), double, at_most=TOLERANCE)
    peer = build_peer(cell)
    probes.require_one_thread()  # of the framework's libraries, too, which are loaded now
    peer.warm_up()
    return peer, error


def _gradient_error(peer: Peer, cell: Cell, *, at_most: float) -> float:
    error = gradient_error(peer.gradients(), Step(cell.store_all).gradients())
    if not error <= at_most:
        raise RuntimeError(f"gradients differ from the network's by {error:.1e} of their norm, in {cell.dtype}")
    return error


def build_peer(cell: Cell) -> Peer:
    """The cell's step, from the weights and data of its `Network`."""
    if cell.peer is None:
        return Step(cell)
    reference = Step(cell.store_all)
    framework = importlib.import_module(f"harness.peers.{cell.framework}")
    return framework.build(cell, reference.network.parameters, reference.x, reference.y)


def measure_peers_memory(job: Job) -> list[list[Row]]:
    """The peak of one training step by memray, with what explains it."""
    (cell,) = job.cells
    peer, error = checked_peer(cell)
    products = len(peer.products())
    row = {
        "forward_steps": products - (2 * cell.depth - 1),  # backward has two products a layer, but one in layer 1
        **peer.counted(),
        **probes.peak_memory(peer),
        "gradient_error": _gradient_error(peer, cell, at_most=ANY_NUMBER),
        "gradient_error_double": error,
        "executed_products": products,
        "activation_blocks_at_peak": probes.blocks_at_peak(peer, nbytes=cell.hidden_bytes),
        "compiler_temporary_bytes": peer.compiler_temporary_bytes,
    }
    return [[row]]


def measure_peers_time(job: Job) -> list[list[Row]]:
    """Seconds of a training step, interleaved with its framework's own bare matrix products."""
    (cell,) = job.cells
    cpu = probes.pin_to_one_cpu()  # before the framework is loaded, which makes its threads by the processors it sees
    peer, _ = checked_peer(cell)
    products = peer.products()
    multiply = {product: peer.multiplication(product) for product in dict.fromkeys(products)}
    loops = peer.loops()
    rows: list[Row] = []
    generator = np.random.default_rng(job.settings["order_seed"])
    left, lap = job.settings["seconds"], probes.stopwatch()
    for repeat in range(job.settings["repeats"]):
        step_first = bool(generator.integers(2))
        row: Row = {"repeat": repeat, "position": 2 * repeat + (not step_first), "loops": loops, "cpu": cpu}
        for step in (step_first, not step_first):
            with probes.quiet_heap():
                row |= peer.seconds(loops) if step else {"floor_seconds": _floor_seconds(products, multiply, loops)}
        rows.append(row)
        left -= lap()
        if left <= 0 and len(rows) >= LEAST_REPEATS:
            break
    return [[{**row, "repeats": len(rows)} for row in rows]]


def _floor_seconds(products: list[Product], multiply: dict[Product, Callable[[], None]], loops: int) -> float:
    lap = probes.stopwatch()
    for product in loops * products:
        multiply[product]()
    return lap() / loops


def measure_resident(job: Job) -> list[list[Row]]:
    """How far resident memory rises in a training step, without memray; of our own unchecked, for there are many."""
    (cell,) = job.cells
    if cell.peer is None:
        peer = Step(cell)
        peer.warm_up()
    else:
        peer, _ = checked_peer(cell)
    repeats = range(job.settings["repeats"])
    allocator = job.settings["allocator"]
    return [[{"allocator": allocator, "repeat": repeat, **probes.resident_peak(peer)} for repeat in repeats]]
