"""What happens in a training step, told as sweeps over the layers: a dry run's trace, read for people."""

from collections.abc import Iterator
from dataclasses import dataclass

from networks.dry_run import Trace
from networks.tracker import Event


@dataclass(frozen=True)
class Sweep:
    """Layers done one after the other in one direction.

    Attributes:
        backward: whether these are backward steps; or else layers are run forward.
        layers: the layers in the order they are done.
        kept, dropped: those whose afters the schedule keeps, and gives up unused, in this sweep.
        held: those whose afters it holds when the sweep ends.
        live_bytes: for each of `layers` the most bytes live until the next one begins.
    """

    backward: bool
    layers: tuple[int, ...]
    kept: tuple[int, ...]
    dropped: tuple[int, ...]
    held: frozenset[int]
    live_bytes: tuple[int, ...]


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
