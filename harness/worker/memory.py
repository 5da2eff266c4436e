"""The measures that count bytes: peaks, timelines, resident memory, captures."""

from pathlib import Path

from harness.experiment.cell import Cell
from harness.experiment.job import Job, Row
from harness.worker import probes
from harness.worker.steps.base import Peer
from harness.worker.steps.build import ANY_NUMBER, checked_gradient_error, checked_peer
from harness.worker.steps.networks import NetworkStep


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


def _run_under_memray(cell: Cell) -> tuple[NetworkStep, dict[str, int], list[probes.Stretch]]:
    """Run one step of the cell under memray, with a mark at each of its events."""
    step = NetworkStep(cell)
    step.warm_up()
    marks = probes.Marks()
    step.network.observer = marks.leave
    return step, *probes.memory_at_marks(step, marks, len(step.network.tracker.timeline))


def capture(job: Job) -> list[list[Row]]:
    """Write memray's capture of one training step to the path in the settings. There are no rows."""
    (cell,) = job.cells
    step = NetworkStep(cell)
    step.warm_up()
    probes.capture(step, Path(job.settings["path"]))
    return [[]]


def measure_peers_memory(job: Job) -> list[list[Row]]:
    """The peak of one training step by memray, with counts that explain it."""
    (cell,) = job.cells
    peer, error = checked_peer(cell)
    products = len(peer.products())
    row = {
        "forward_steps": products - (2 * cell.depth - 1),  # backward has two products for each layer, one for layer 1
        **peer.counted(),
        **probes.peak_memory(peer),
        "gradient_error": checked_gradient_error(peer, cell, at_most=ANY_NUMBER),
        "gradient_error_double": error,
        "executed_products": products,
        "activation_blocks_at_peak": probes.blocks_at_peak(peer, nbytes=cell.hidden_bytes),
        "compiler_temporary_bytes": peer.compiler_temporary_bytes,
    }
    return [[row]]


def measure_resident(job: Job) -> list[list[Row]]:
    """How far resident memory rises in a training step, without memray. Our own gradients are not checked here."""
    (cell,) = job.cells
    peer: Peer
    if cell.peer is None:
        peer = NetworkStep(cell)
        peer.warm_up()
    else:
        peer, _ = checked_peer(cell)
    repeats = range(job.settings["repeats"])
    allocator = job.settings["allocator"]
    return [[{"allocator": allocator, "repeat": repeat, **probes.resident_peak(peer)} for repeat in repeats]]
