"""A step of any framework from a cell, checked against our own before it is measured."""

import importlib
import sys
from dataclasses import replace

from harness.experiment.cell import Cell
from harness.worker import probes
from harness.worker.steps.base import Peer, gradient_error
from harness.worker.steps.networks import NetworkStep

CHECKED_ROWS = 64
TOLERANCE = 1e-4
"""The largest relative distance of a gradient from ours, by Euclidean norms of a layer's array."""

ANY_NUMBER = sys.float_info.max
"""The tolerance in single precision: any finite error passes."""


def checked_peer(cell: Cell) -> tuple[Peer, float]:
    """The cell's step, warmed up, and the error of its gradients in double precision.

    A deep network of rectifiers magnifies rounding errors. At 256 layers every framework's gradients in single
    precision are some percent off. So the same code is first checked in double precision, on a few rows.

    Raises:
        RuntimeError: the error is above `TOLERANCE`, so the peer computes something else.
    """
    double = replace(cell, dtype="float64", batch=min(cell.batch, CHECKED_ROWS))
    error = checked_gradient_error(build_peer(double), double, at_most=TOLERANCE)
    peer = build_peer(cell)
    probes.require_one_thread()  # also of the framework's libraries, which are loaded now
    peer.warm_up()
    return peer, error


def build_peer(cell: Cell) -> Peer:
    """The cell's step, with the weights and data of its `Network`."""
    if cell.peer is None:
        return NetworkStep(cell)
    reference = NetworkStep(cell.store_all)
    framework = importlib.import_module(f"harness.worker.steps.{cell.framework}")
    return framework.build(cell, reference.network.parameters, reference.x, reference.y)


def checked_gradient_error(peer: Peer, cell: Cell, *, at_most: float) -> float:
    """The error of the peer's gradients against our own. Raises RuntimeError if it is above `at_most`."""
    error = gradient_error(peer.gradients(), NetworkStep(cell.store_all).gradients())
    if not error <= at_most:
        raise RuntimeError(f"gradients differ from the network's by {error:.1e} of their norm, in {cell.dtype}")
    return error
