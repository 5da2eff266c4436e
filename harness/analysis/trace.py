"""What happens in a training step, told as sweeps over the layers or blocks, for people to read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from networks.chain import Chain
from networks.dry_run import Trace
from networks.layer_lists import format_layers
from networks.tracker import Event


@dataclass(frozen=True)
class Sweep:
    """Layers, or blocks, done one after the other in one direction.

    Attributes:
        backward: whether these are backward steps; or else layers are run forward.
        layers: their numbers in the order they are done.
        kept: the layers whose outputs the schedule keeps in this sweep.
        dropped: the layers whose outputs it gives up unused as the sweep begins.
        held: the layers whose outputs it holds when the sweep ends.
        live_bytes: for each of `layers` the most bytes live until the next one begins.
        kept_tapes: the blocks that run with their tapes; layers have none.
        dropped_tapes: the blocks whose tapes are given up unused as the sweep begins.
        held_tapes: the blocks whose tapes are held when the sweep ends.
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
    """One training step by one schedule, as it is printed and drawn.

    Attributes:
        name: of the schedule.
        of: what was run, in a few words.
        part: what is run one after the other: "layer" or "block".
        output: what a schedule keeps of it: "after" or "output".
        reference: the name of the step that keeps everything.
        depth: how many parts there are.
        sweeps: the sweeps in their order.
        forward_flops: the work of all forward runs.
        peak_bytes: the most bytes live at once.
        peak_bytes_by_kind: what the peak is made of.
    """

    name: str
    of: str
    part: str
    output: str
    reference: str
    depth: int
    sweeps: tuple[Sweep, ...]
    forward_flops: int
    peak_bytes: int
    peak_bytes_by_kind: Mapping[str, int]

    @property
    def forward_steps(self) -> int:
        """How many times a part is run forward."""
        return sum(len(sweep.layers) for sweep in self.sweeps if not sweep.backward)


def told(trace: Trace, name: str) -> StepTold:
    """The step of a dry run by the schedule `name`."""
    chain = trace.chain
    return StepTold(
        name=name,
        of=f"layers {format_layers(chain.layers)}, batch {chain.batch:,}, {8 * chain.itemsize}-bit floats",
        part="layer",
        output="after",
        reference="store-all",
        depth=chain.depth,
        sweeps=tuple(sweeps(trace)),
        forward_flops=trace.forward_flops,
        peak_bytes=trace.peak_bytes,
        peak_bytes_by_kind={kind.replace("_", " "): nbytes for kind, nbytes in trace.peak_bytes_by_kind.items()},
    )


def sweeps(trace: Trace) -> Iterator[Sweep]:
    """Read a trace as sweeps: the forward pass, then backward steps and recomputations in turn."""
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
    """Events and live bytes, divided where backward steps begin and where forward ones do; and which they are."""
    events: list[tuple[Event, int]] = []
    backward = False
    for event, live_bytes in zip(trace.timeline, trace.live_bytes_over_time, strict=True):
        if event.action in (("miss", "part") if backward else ("parameter_deltas",)):
            yield backward, events
            backward, events = not backward, []
        events.append((event, live_bytes))
    yield backward, events


STATES = ("kept", "working", "recomputed", "delta", "parameter deltas", "workspace")
"""What a buffer of a step is: an after that the schedule keeps, one that it does not, the same computed once more, a
delta, a layer's parameter deltas, or scratch. Each after and each delta has its layer's number, scratch has 0."""


class Span(NamedTuple):
    """A buffer in one state, from the event `start` until just before the event `stop`.

    Attributes:
        layer: the layer that it belongs to, from 1; 0 for scratch.
        state: its place in `STATES`.
        start: the first event after which it is so.
        stop: the first event after which it is no longer so.
    """

    layer: int
    state: int
    start: int
    stop: int


KEPT, WORKING, RECOMPUTED, DELTA, PARAMETER_DELTAS, WORKSPACE = range(len(STATES))


def spans(trace: Trace) -> list[Span]:
    """Every buffer of a step as the states it passes through, in the order in which they end.

    The bytes of the spans that hold an event add up to what is live after it.

    Raises:
        ValueError: the step is run in parts, which have buffers of other sizes.
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
                since["parameter deltas", layer] = PARAMETER_DELTAS, now
            case "apply":
                end(("parameter deltas", layer), now)
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
