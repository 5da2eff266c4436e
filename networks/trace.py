"""The same training step over shapes instead of arrays: every count and every byte, without computing.

The networks here are the real ones, and `ShapeKernels` replaces what touches arrays. A schedule and a tracker cannot
tell a dry run from a step. For speed, only the changes in a schedule's answer are read, and layers that are written in
place are noted together.
"""

from collections.abc import Collection, Iterable, Set
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from networks.chain import Chain
from networks.checkpointing import NetworkWithCheckpointing
from networks.checks import check_count
from networks.kernels import ArrayKernels
from networks.layer_lists import format_layers
from networks.layers import DenseLayer
from networks.network import Network
from networks.optimizers import SGD
from networks.perceptron import MultiLayerPerceptron
from networks.positions import CountedCache, CountedCosts, Positions
from networks.rounding import ceil_div
from networks.schedules import Schedule
from networks.tracker import FORWARD, CacheTracker, Event, Recorded, event_arrays, events, live_bytes_after
from networks.wording import cut

STEPS = ("backward", "train_step")
"""How a step ends: with the weight gradients that `backward` returns, or with the update in `train_step`."""

MOST_PARTS = 100_000
"""Most parts of a batch that are run, which takes seconds in small networks."""


class _Shape:
    """What an array is to a network's control flow: a number of rows and of bytes."""

    __slots__ = ("nbytes", "row_bytes", "rows")

    def __init__(self, rows: int, columns: int, itemsize: int):
        self.rows = rows
        self.row_bytes = columns * itemsize
        self.nbytes = rows * self.row_bytes

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, rows: slice) -> "_Shape":
        return _Shape(len(range(self.rows)[rows]), 1, self.row_bytes)


Array = Any
"""A `_Shape`, where the networks that are replaced have an array."""


class _ShapeLayer(DenseLayer):
    """A layer of `inputs` and `outputs` that has no parameters."""

    def __init__(self, number: int, inputs: int, outputs: int, itemsize: int):
        self.number = number
        self._outputs = outputs
        self._itemsize = itemsize
        self._parameter_deltas = _Shape(inputs, outputs, itemsize), _Shape(1, outputs, itemsize)

    def _new_after(self, chain: Chain) -> Array:
        return _Shape(chain.batch, self._outputs, self._itemsize)

    def _new_parameter_deltas(self, chain: Chain) -> tuple[Array, Array]:
        return self._parameter_deltas

    def compute_after(self, *arrays: object) -> None: ...

    def compute_parameter_deltas(self, *arrays: object) -> None: ...

    def compute_delta_before(self, *arrays: object) -> None: ...

    def apply(self, *arrays: object) -> None: ...


class ShapeKernels(ArrayKernels):
    """The same operations on shapes. Inputs and labels are a `_Shape`."""

    def build_layers(self, seed: int) -> list[DenseLayer]:
        itemsize = self.dtype.itemsize
        return [_ShapeLayer(number, *pair, itemsize) for number, pair in enumerate(pairwise(self.layers), start=1)]

    def check_inputs(self, x: Array) -> Array:
        return x

    def check_labels(self, y: Array, batch: int) -> Array:
        return y

    def check_optimizer(self, *objects: object) -> None: ...

    def new_workspace(self, chain: Chain) -> Any:
        return object()

    def new_outputs(self, chain: Chain) -> Array:
        return _Shape(chain.batch, self.layers[-1], self.dtype.itemsize)

    def copy(self, values: Array, to: Array) -> Array:
        return to

    def subtract_labels(self, *arrays: object) -> None: ...

    def add(self, *arrays: object) -> None: ...


class _DryNetwork(Network):
    _kernels_class = ShapeKernels


class _DryNetworkWithCheckpointing(NetworkWithCheckpointing):
    _kernels_class = ShapeKernels
    _cache: CountedCache

    def _new_cache(self, x: Array) -> CountedCache:
        return CountedCache(x, self._chain.depth, self.tracker.forward_flops)

    def _ask_schedule(self, start: int, stop: int) -> tuple[frozenset[int], Set[int]]:
        """As the network does; but where an answer tells what it changes, only that is looked at.

        Where two or more go at once the network's own sets say in which order.
        """
        now = self._executed_flops
        answer: Any = self._keep(CountedCosts(self._cache.costs(now)), start, stop)
        few = isinstance(answer, Positions) and len(answer.dropped) <= 1 and 0 not in answer.dropped
        if few and answer.added <= set(range(start + 1, stop + 1)):
            return frozenset(answer.added | ({start} - answer.dropped)), answer.dropped
        return self._changes(self._cache.costs(now), self._answer(answer), start, stop)

    def _run_stretch(self, start: int, stop: int, *, kept: Collection[int], last: int | None) -> Array:
        """As the network does; but layers that are only written over the one before are noted together."""
        chain, cache, tracker = self._chain, self._cache, self.tracker
        after = cache[start] if start in kept else cache.take(start)
        held, together = {*kept, last}, 0
        free = start not in kept
        for number in range(start + 1, stop + 1):
            slide = free and chain.slides[number]
            if slide and number < stop and number not in held:
                together += 1
                continue
            if together:
                run = slice(number - together, number)
                tracker.forward_in_place(range(run.start, run.stop), sum(chain.forward_flops[run]))
                together = 0
            after = self._layers[number - 1].forward(after, chain, self._workspace, tracker, in_place=slide)
            if free and not slide:
                tracker.release(number - 1, chain.after_bytes[number - 1])
            free = number == chain.depth or number not in held
            if not free:
                cache.put(number, after, self._executed_flops)
                if number in kept:
                    tracker.keep(number, chain.after_bytes[number])
        return after


@dataclass(frozen=True)
class Trace:
    """What one training step does, by the names of `CacheTracker`; and the chain it was computed for."""

    chain: Chain
    hits: int
    misses: int
    forward_steps: int
    forward_flops: int
    cached_layers: tuple[int, ...]
    peak_cached_layers: int
    live_bytes: int
    peak_bytes: int
    peak_bytes_by_kind: dict[str, int]
    recorded: Recorded

    def __repr__(self) -> str:
        chain = self.chain
        network = f"{cut(format_layers(chain.layers))}, batch {chain.batch:,}, float{8 * chain.itemsize}"
        return f"<Trace {network}: peak {self.peak_bytes:,} bytes, {self.forward_steps} forward steps>"

    @property
    def timeline(self) -> list[Event]:
        """Every event of the step, in order."""
        return events(self.recorded)

    @property
    def layers_run(self) -> list[int]:
        """The layers that are run forward, in order."""
        logs = (event_arrays(*log) for log in self.recorded)
        return [layer for layers, actions, *_ in logs for layer in layers[actions == FORWARD].tolist()]

    @property
    def live_bytes_over_time(self) -> list[int]:
        """Live bytes after each event of the timeline."""
        return live_bytes_after(self.timeline)

    @property
    def peak_bytes_by_phase(self) -> dict[str, int]:
        """Most bytes live in the forward and in the backward pass; the larger is `peak_bytes`."""
        timeline = self.timeline
        peaks: dict[str, int] = {}
        for event, live_bytes in zip(timeline, live_bytes_after(timeline), strict=True):
            peaks[event.phase] = max(peaks.get(event.phase, 0), live_bytes)
        return peaks


def dry_run(
    layers: Iterable[int],
    *,
    batch: int,
    checkpoint_frequency: int | None = None,
    recompute: str = "segment",
    schedule: Schedule | None = None,
    dtype: str = "float32",
    step: str = "backward",
    micro_batch: int | None = None,
) -> Trace:
    """Return what one training step of these `layers` and this `batch` would do, to the byte.

    With neither `checkpoint_frequency` nor `schedule` the step is `Network`'s (store-all), with one of them
    `NetworkWithCheckpointing`'s. It is `forward` and `backward`, or with `step="train_step"` that method, which takes
    `micro_batch`; an optimiser's state is not of the step. No array is made, so thousands of layers take a second
    or two. Raises ValueError as the networks do.
    """
    if step not in STEPS:
        raise ValueError(f"step must be {' or '.join(map(repr, STEPS))}, got {step!r}")
    if micro_batch is not None and step != "train_step":
        raise ValueError(f"micro_batch={micro_batch!r} goes with step='train_step', got step={step!r}")
    if checkpoint_frequency is None and schedule is None:
        if recompute != "segment":
            raise ValueError(f"recompute={recompute!r} goes with checkpoint_frequency; store-all recomputes nothing")
        network: MultiLayerPerceptron = _DryNetwork(layers, dtype=dtype)
    else:
        options: dict[str, Any] = {
            "checkpoint_frequency": checkpoint_frequency,
            "recompute": recompute,
            "schedule": schedule,
        }
        network = _DryNetworkWithCheckpointing(layers, dtype=dtype, **options)
    rows, itemsize = check_count("batch", batch), network.dtype.itemsize
    if micro_batch is not None and rows > MOST_PARTS * check_count("micro_batch", micro_batch):
        raise ValueError(
            f"micro_batch must be at least {ceil_div(rows, MOST_PARTS)} for a batch of {rows}, got {micro_batch}"
        )
    inputs: Array
    labels: Array
    inputs, labels = (_Shape(rows, columns, itemsize) for columns in (network.layers[0], 1))
    if step == "backward":
        network.forward(inputs)
        network.backward(labels)
    else:
        network.train_step(inputs, labels, SGD(learning_rate=0), micro_batch=micro_batch)
    return _trace(network.tracker)


def _trace(tracker: CacheTracker) -> Trace:
    return Trace(
        chain=tracker.chain,
        hits=tracker.hits,
        misses=tracker.misses,
        forward_steps=tracker.forward_steps,
        forward_flops=tracker.forward_flops,
        cached_layers=tracker.cached_layers,
        peak_cached_layers=tracker.peak_cached_layers,
        live_bytes=tracker.live_bytes,
        peak_bytes=tracker.peak_bytes,
        peak_bytes_by_kind=tracker.peak_bytes_by_kind,
        recorded=tracker.recorded,
    )
