"""`python -m harness.worker PARENT`: measures one job in this process; the only place that runs a network.

Reads a job as JSON on standard input and answers with one line of JSON: `{"rows": [[row, ..] for each cell]}` or
`{"error": "one line"}`. The answer goes to what was standard output at the start, and everything printed
afterwards, by whatever library, to standard error. It lives no longer than the process PARENT that started it.
"""

import ctypes
import gc
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from harness import probes
from harness.cell import Cell, Job
from harness.peers.measures import measure_peers_memory, measure_peers_time, measure_resident
from harness.steps import Step, build_network
from networks.optimizers import SGD
from networks.training import Epoch, train_epochs

Row = dict[str, Any]

PR_SET_PDEATHSIG = 1  # linux/prctl.h
TEST_ROWS = 360  # of the 1797 digits: a fifth


def measure_memory(job: Job) -> list[list[Row]]:
    """The peak of one training step and of its passes, by tracker and by memray."""
    (cell,) = job.cells
    step, measured, stretches = _run_under_memray(cell)
    tracker = step.network.tracker
    row = {**measured, **step.counted()}
    for phase in ("forward", "backward"):
        peaks = (
            seen.peak_bytes for event, seen in zip(tracker.timeline, stretches, strict=True) if event.phase == phase
        )
        row[f"memray_{phase}_peak_bytes"] = max(peaks)
    return [[row]]


def measure_timeline(job: Job) -> list[list[Row]]:
    """The bytes live after each event of one training step, by tracker and by memray."""
    (cell,) = job.cells
    step, _, stretches = _run_under_memray(cell)
    tracker = step.network.tracker
    rows = [
        {"event": number, **event._asdict(), "live_bytes": live_bytes, "memray_live_bytes": seen.live_bytes}
        for number, (event, live_bytes, seen) in enumerate(
            zip(tracker.timeline, tracker.live_bytes_over_time, stretches, strict=True)
        )
    ]
    return [rows]


def _run_under_memray(cell: Cell) -> tuple[Step, dict[str, int], list[probes.Stretch]]:
    """Run one step of the cell with a mark at each of its events."""
    step = Step(cell)
    step.warm_up()
    marks = probes.Marks()
    step.network.observer = marks.leave
    return step, *probes.memory_at_marks(step, marks, len(step.network.tracker.timeline))


def measure_time(job: Job) -> list[list[Row]]:
    """Seconds of the variants' training steps, interleaved in a shuffled order, after a warm-up."""
    cpu = probes.pin_to_one_cpu()
    steps = [Step(cell) for cell in job.cells]
    for step in steps:
        step.warm_up()
    loops = [step.loops() for step in steps]
    rows: list[list[Row]] = [[] for _ in steps]
    for repeat, position, variant in _interleaved(len(steps), job.settings["repeats"], job.settings["order_seed"]):
        with probes.quiet_heap():
            seconds = steps[variant].seconds(loops[variant])
        rows[variant].append({"repeat": repeat, "position": position, "loops": loops[variant], "cpu": cpu, **seconds})
    return rows


def measure_training(job: Job) -> list[list[Row]]:
    """Loss, accuracy and seconds of each epoch on the digits, the variants' epochs interleaved."""
    cpu = probes.pin_to_one_cpu()
    trainings = [_digits_training(cell, job.settings) for cell in job.cells]
    rows: list[list[Row]] = [[] for _ in trainings]
    for _, _, variant in _interleaved(len(trainings), job.settings["epochs"], job.settings["order_seed"]):
        with probes.quiet_heap():
            epoch = next(trainings[variant])
        rows[variant].append(
            {
                "epoch": epoch.number,
                "cpu": cpu,
                "train_loss": epoch.train_loss,
                "train_accuracy": epoch.train_accuracy,
                "test_loss": epoch.test_loss,
                "test_accuracy": epoch.test_accuracy,
                "epoch_seconds": epoch.seconds,
            }
        )
    return rows


def measure_products(job: Job) -> list[list[Row]]:
    """Seconds of each layer's matrix products, forward and backward: layers of one shape are timed once."""
    (cell,) = job.cells
    shapes = list(pairwise(cell.widths))
    seconds = {shape: probes.product_seconds(cell.batch, *shape, dtype=cell.dtype) for shape in dict.fromkeys(shapes)}
    rows = []
    for layer, shape in enumerate(shapes, start=1):
        forward_seconds, weights_delta_seconds, delta_seconds = seconds[shape]
        backward_seconds = weights_delta_seconds + (delta_seconds if layer > 1 else 0)
        rows.append({"layer": layer, "forward_seconds": forward_seconds, "backward_seconds": backward_seconds})
    return [rows]


def capture(job: Job) -> list[list[Row]]:
    """Not a row: memray's capture of one training step, written to the path in the settings."""
    (cell,) = job.cells
    step = Step(cell)
    step.warm_up()
    probes.capture(step, Path(job.settings["path"]))
    return [[]]


def describe_environment(job: Job) -> list[list[Row]]:
    """Not a measurement: what this process runs on, which only it can know."""
    from harness import provenance  # reads of packages what the measures need not wait for

    return [[provenance.place(job.settings.get("frameworks", ()))]]


MEASURES = {
    "memory": measure_memory,
    "timeline": measure_timeline,
    "peers_memory": measure_peers_memory,
    "resident": measure_resident,
    "capture": capture,
    "time": measure_time,
    "peers_time": measure_peers_time,
    "training": measure_training,
    "products": measure_products,
    "environment": describe_environment,
}


def main() -> int:
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as answer:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        _die_with_parent(int(sys.argv[1]))
        job = Job.from_request(json.load(sys.stdin))
        gc.freeze()  # what the imports have made is no garbage: no collection before a step need look at it
        try:
            probes.require_one_thread()
            result = {"rows": MEASURES[job.measure](job)}
        except Exception as error:
            traceback.print_exc()
            result = {"error": " ".join(f"{type(error).__name__}: {error}".split())}
        json.dump(result, answer)
    return "error" in result


def _interleaved(variants: int, rounds: int, order_seed: int) -> Iterator[tuple[int, int, int]]:
    """Yield (round, position in the whole order, variant): each variant once a round, each round shuffled anew."""
    generator = np.random.default_rng(order_seed)
    for number in range(rounds):
        for place, variant in enumerate(generator.permutation(variants)):
            yield number, number * variants + place, int(variant)


def _digits_training(cell: Cell, settings: Mapping[str, Any]) -> Iterator[Epoch]:
    """Train the cell's network on the digits, an epoch each time it is asked; the seed splits and shuffles them."""
    from sklearn.datasets import load_digits  # takes a second, which the other measures do not wait for

    digits = load_digits()
    generator = np.random.default_rng(cell.seed)
    order = generator.permutation(len(digits.target))
    x, y = (digits.data[order] / digits.data.max()).astype(cell.dtype), digits.target[order]
    network = build_network(cell)
    network.forward(x[: cell.batch])
    network.backward(y[: cell.batch])  # a warm-up: the weights stay as they are
    return train_epochs(
        network,
        x[TEST_ROWS:],
        y[TEST_ROWS:],
        x_test=x[:TEST_ROWS],
        y_test=y[:TEST_ROWS],
        batch_size=cell.batch,
        micro_batch=cell.micro_batch,
        optimizer=SGD(learning_rate=settings["learning_rate"], momentum=settings["momentum"]),
        generator=generator,
        on_divergence="continue",  # that it diverges is what is measured then
    )


def _die_with_parent(parent: int) -> None:
    # An orphan would go on computing beside the run that is started next, and spoil its times.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was dead before that
        sys.exit("the process that started this worker has ended")


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # nothing is left to do: to take the interpreter down takes a fifth of the time of its start
