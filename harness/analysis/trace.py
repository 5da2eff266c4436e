"""A training step as sweeps over the layers or blocks, for people to read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from harness.experiment.frameworks import STORE_ALL
from networks.chain import Chain
from networks.layer_lists import format_layers
from networks.planning.network_rows import WORDS
from networks.trace import Trace
from networks.tracker import Event


@dataclass(frozen=True)
class Sweep:
    """Layers or blocks that are run one after the other in one direction.

    Attributes:
        backward: whether the layers run backward.
        layers: their numbers in the order of the sweep.
        kept: the layers whose outputs the schedule keeps in this sweep.
        dropped: the layers whose outputs it drops before use, at the start of the sweep.
        held: the layers whose outputs it holds at the end of the sweep.
        live_bytes: for each of `layers`, the most live bytes until the next layer begins.
        kept_tapes: the blocks that run with their tapes. Layers have no tapes.
        dropped_tapes: the blocks whose tapes are dropped before use, at the start of the sweep.
        held_tapes: the blocks whose tapes are held at the end of the sweep.
    """

    backward: bool
    layers: tuple[int, ...]
    kept: tuple[int, ...]
    dropped: tuple[int, ...]
    held: frozenset[int]
    live_bytes: tuple[int, ...]
    kept_tapes: tuple[int, ...] = ()
    dropped_tapes: tuple[int, ...] = ()
    held_tapes: frozenset[int] = frozenset()


@dataclass(frozen=True)
class StepTold:
    """One training step by one schedule, for printing and drawing.

    Attributes:
        name: the schedule's name.
        of: the network or model, in a few words.
        part: the name of a part of it: "layer" or "block".
        reference: the name of the step that keeps everything.
        depth: the number of parts.
        sweeps: the sweeps in their order.
        forward_flops: the work of all forward runs.
        peak_bytes: the most live bytes.
        peak_bytes_by_kind: the bytes of the peak by kind of buffer.
    """

    name: str
    of: str
    part: str
    reference: str
    depth: int
    sweeps: tuple[Sweep, ...]
    forward_flops: int
    peak_bytes: int
    peak_bytes_by_kind: Mapping[str, int]

    @property
    def forward_steps(self) -> int:
        """The number of forward runs of parts."""
        return sum(len(sweep.layers) for sweep in self.sweeps if not sweep.backward)


def told(trace: Trace, name: str) -> StepTold:
    """The step of a dry run by the schedule `name`."""
    chain = trace.chain
    return StepTold(
        name=name,
        of=f"layers {format_layers(chain.layers)}, batch {chain.batch:,}, {8 * chain.itemsize}-bit floats",
        part="layer",
        reference=STORE_ALL,
        depth=chain.depth,
        sweeps=tuple(sweeps(trace)),
        forward_flops=trace.forward_flops,
        peak_bytes=trace.peak_bytes,
        peak_bytes_by_kind={WORDS[kind]: nbytes for kind, nbytes in trace.peak_bytes_by_kind.items()},
    )


def sweeps(trace: Trace) -> Iterator[Sweep]:
    """The sweeps of a trace: the forward pass, then backward steps and recomputations in turn."""
    held: set[int] = set()
    for backward, events in _turns(trace):
        layers: list[int] = []
        live: list[int] = []
        kept: list[int] = []
        dropped: list[int] = []
        for event, live_bytes in events:
            match event.action:
                case "forward" | "parameter_deltas":
                    layers.append(event.layer)
                    live.append(live_bytes)
                case "keep":
                    kept.append(event.layer)
                    held.add(event.layer)
                case "drop":
                    dropped.append(event.layer)
                    held.discard(event.layer)
                case "overwrite":
                    held.discard(event.layer)
            if live:
                live[-1] = max(live[-1], live_bytes)
        yield Sweep(backward, tuple(layers), tuple(kept), tuple(dropped), frozenset(held), tuple(live))


def _turns(trace: Trace) -> Iterator[tuple[bool, list[tuple[Event, int]]]]:
    """Events and live bytes of each turn, and whether the turn is backward. A turn ends when the direction changes."""
    events: list[tuple[Event, int]] = []
    backward = False
    for event, live_bytes in zip(trace.timeline, trace.live_bytes_over_time, strict=True):
        if event.action in (("miss", "part") if backward else ("parameter_deltas",)):
            yield backward, events
            backward, events = not backward, []
        events.append((event, live_bytes))
    yield backward, events


STATES = "kept", "working", "recomputed", WORDS["deltas"], WORDS["parameter_deltas"], WORDS["workspace"]
"""States of a buffer: an output (after) that the schedule keeps, another output, a recomputed output, an output
gradient, a layer's weight gradients, or scratch memory."""


class Span(NamedTuple):
    """A buffer in one state, from the event `start` until just before the event `stop`.

    Attributes:
        layer: the layer of the buffer, from 1. 0 for scratch memory.
        state: the place of the state in `STATES`.
        start: the first event after which the buffer is in this state.
        stop: the first event after which it is not.
    """

    layer: int
    state: int
    start: int
    stop: int


KEPT, WORKING, RECOMPUTED, DELTA, PARAMETER_DELTAS, WORKSPACE = range(len(STATES))


def spans(trace: Trace) -> list[Span]:
    """The spans of all buffers of a step, in the order in which they end.

    The bytes of all spans that contain an event add up to the live bytes after it.

    Raises:
        ValueError: the step is run in parts, because parts have buffers of other sizes.
    """
    done: list[Span] = []
    since: dict[tuple[str, int], tuple[int, int]] = {}
    run: set[int] = set()

    def end(buffer: tuple[str, int], now: int) -> None:
        state, start = since.pop(buffer)
        if start < now:
            done.append(Span(buffer[1], state, start, now))

    def turn(layer: int, state: int, now: int) -> None:
        end(("after", layer), now)
        since["after", layer] = state, now

    timeline = trace.timeline
    for now, (_, action, layer, nbytes) in enumerate(timeline):
        match action:
            case "forward":
                if nbytes == 0:
                    end(("after", layer - 1), now)
                since["after", layer] = RECOMPUTED if layer in run else WORKING, now
                run.add(layer)
            case "keep":
                turn(layer, KEPT, now)
            case "drop":
                turn(layer, WORKING, now)
            case "release":
                end(("after", layer), now)
            case "overwrite":
                end(("after", layer), now)
                since["delta", layer] = DELTA, now
            case "delta":
                since["delta", layer] = DELTA, now
            case "release_delta":
                end(("delta", layer), now)
            case "parameter_deltas":
                since["parameter_deltas", layer] = PARAMETER_DELTAS, now
            case "apply":
                end(("parameter_deltas", layer), now)
            case "workspace" if nbytes > 0:
                since["workspace", 0] = WORKSPACE, now
            case "workspace":
                end(("workspace", 0), now)
            case "part" | "outputs":
                raise ValueError("a step that is run in parts has no spans: its parts have buffers of other sizes")
    for buffer in list(since):
        end(buffer, len(timeline))
    return done


def span_bytes(chain: Chain, layer: int, state: int) -> int:
    """The bytes of a buffer of `layer` in this state."""
    if state == WORKSPACE:
        return chain.workspace_bytes
    return chain.parameter_delta_bytes[layer] if state == PARAMETER_DELTAS else chain.after_bytes[layer]
