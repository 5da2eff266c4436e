"""The measures of time: steps that take turns, and bare matrix products."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from harness.experiment.job import Job, Row
from harness.worker import probes
from harness.worker.steps.base import Product
from harness.worker.steps.build import checked_peer
from harness.worker.steps.networks import NetworkStep

LEAST_REPEATS = 5


def measure_time(job: Job) -> list[list[Row]]:
    """Seconds of the variants' training steps. After a warm-up they take turns in a shuffled order."""
    cpu = probes.pin_to_one_cpu()
    steps = [NetworkStep(cell) for cell in job.cells]
    for step in steps:
        step.warm_up()
    loops = [step.loops() for step in steps]
    rows: list[list[Row]] = [[] for _ in steps]
    for repeat, position, variant in interleaved(len(steps), job.settings["repeats"], job.settings["order_seed"]):
        with probes.quiet_heap():
            seconds = steps[variant].seconds(loops[variant])
        rows[variant].append({"repeat": repeat, "position": position, "loops": loops[variant], "cpu": cpu, **seconds})
    return rows


def measure_products(job: Job) -> list[list[Row]]:
    """Seconds of each layer's matrix products, forward and backward, in cells that differ in their batch alone.

    Layers of one shape are timed once, one batch right after the other.
    """
    cell, batches = job.cells[0], [one.batch for one in job.cells]
    shapes = list(pairwise(cell.widths))
    seconds = {
        (shape, batch): probes.product_seconds(batch, *shape, dtype=cell.dtype)
        for shape in dict.fromkeys(shapes)
        for batch in dict.fromkeys(batches)
    }
    return [[_product_row(layer, seconds[shape, batch]) for layer, shape in enumerate(shapes, 1)] for batch in batches]


def _product_row(layer: int, seconds: tuple[float, float, float]) -> Row:
    forward_seconds, weights_delta_seconds, delta_seconds = seconds
    backward_seconds = weights_delta_seconds + (delta_seconds if layer > 1 else 0)
    return {"layer": layer, "forward_seconds": forward_seconds, "backward_seconds": backward_seconds}


def interleaved(variants: int, rounds: int, order_seed: int) -> Iterator[tuple[int, int, int]]:
    """Yield (round, position in the whole order, variant). Each round has every variant once, in a new order."""
    generator = np.random.default_rng(order_seed)
    for number in range(rounds):
        for place, variant in enumerate(generator.permutation(variants)):
            yield number, number * variants + place, int(variant)


def measure_peers_time(job: Job) -> list[list[Row]]:
    """Seconds of a training step, which takes turns with its framework's own bare matrix products."""
    (cell,) = job.cells
    cpu = probes.pin_to_one_cpu()  # before the framework is loaded, because it makes a thread for each processor
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


def _floor_seconds(products: list[Product], multiply: dict[Product, Callable[[], object]], loops: int) -> float:
    lap = probes.stopwatch()
    for product in loops * products:
        multiply[product]()
    return lap() / loops
