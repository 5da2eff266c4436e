"""The cache tracker and its log: what a training step holds, in bytes by kind, event by event.

An observer: it has integers and labels, never arrays.
"""

import itertools
from array import array
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from networks.chain import Chain

PHASES = ("forward", "query", "backward")
"""`query` is everything asked of the cache between the forward and the backward pass."""

ACTIONS = (
    "forward",  # layer computed; its activation is a new buffer, or (0 bytes) written over the one before it
    "keep",  # its activation is now held by the schedule: a checkpoint
    "drop",  # the schedule gave its activation up; the bytes go with the next release, overwrite or forward
    "release",  # the activation is freed, or handed to the caller
    "hit",  # the activation was asked for and resident
    "miss",  # the activation was asked for and has to be recomputed
    "delta",  # a new buffer for the gradient of the loss
    "overwrite",  # the layer's activation is now its gradient, in the same buffer
    "release_delta",
    "parameter_deltas",  # new gradients of the layer's weights and biases
    "accumulate",  # they are added to those of the parts of the batch before, and freed
    "apply",  # the layer's parameters are updated, and its weight gradients freed
    "workspace",  # scratch of a pass, allocated (+) or freed (-)
    "part",  # the next part of a batch begins
    "outputs",  # room for the outputs of a batch of parts, allocated (+) or the caller's alone (-)
)

KINDS = ("checkpoints", "working_afters", "deltas", "parameter_deltas", "workspace")
"""Checkpoints are the activations that a schedule keeps. Working activations are all others, outputs included."""

_CHECKPOINTS, _WORKING, _DELTAS, _PARAMETER_DELTAS, _WORKSPACE = range(len(KINDS))
SIGNS = (0, 1, -1)
_CODES = {action: code for code, action in enumerate(ACTIONS)}


class Event(NamedTuple):
    """One event of a step; `bytes` is the change of the live bytes, so their running sum is what is live."""

    phase: str
    action: str
    layer: int
    bytes: int


Recorded = tuple[tuple[Chain, bytes], ...]
"""Events in short: a word for each, and the sizes it goes by: those of the step, and of each part of its batch."""


def event_bytes(chain: Chain) -> int:
    """Bytes of an event in a tracker's log: a word that names layer, action, phase and sign; half of one if it can."""
    labels = (chain.depth + 1) * len(ACTIONS) * len(PHASES) * len(SIGNS)
    return 2 if labels <= 2**16 else 4


def _log(chain: Chain, labels: bytes = b"") -> "array[int]":
    return array({2: "H", 4: "I"}[event_bytes(chain)], labels)


class CacheTracker:
    """Counts what one training step does: integers and labels, never an array.

    Attributes, all of the current step:
        hits, misses: requests for an activation that was, or was not, resident; the input counts as resident.
        forward_steps: layer forwards executed; store-all needs L.
        forward_flops: floating-point operations of their products.
        peak_cached_layers: most activations that the schedule held at once, the input not counted.
        live_bytes, peak_bytes: bytes of buffers alive now, and at most.
        chain: the sizes of the step, those of the whole batch where it is run by parts.

    The forward pass's outputs count as live until the backward pass ends: they are the caller's, and a training
    step holds them. `observer`, if given, is called without arguments after every event.
    """

    def __init__(self, chain: Chain, observer: Callable[[], object] | None = None):
        self.phase = "forward"
        self.hits = self.misses = self.forward_steps = self.forward_flops = 0
        self.live_bytes = self.peak_bytes = self.peak_cached_layers = 0
        self._cached = bytearray(chain.depth + 1)
        self._cached_count = 0
        self._live = [0] * len(KINDS)
        self._peak = tuple(self._live)
        # As Python objects a timeline would itself take 50 KB at depth 128.
        self._labels = _log(chain)
        self.chain = chain
        self._logs = [(chain, self._labels)]
        self._observer = observer

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle holds: the counts, and no observer."""
        return vars(self) | {"_observer": None}

    @property
    def cached_layers(self) -> tuple[int, ...]:
        """Layers whose activations the schedule holds now, in ascending order; the input is not one of them."""
        return tuple(itertools.compress(range(len(self._cached)), self._cached))

    @property
    def peak_bytes_by_kind(self) -> dict[str, int]:
        """What `peak_bytes` was made of when it was first reached; the values add up to it."""
        return dict(zip(KINDS, self._peak, strict=True))

    @property
    def timeline(self) -> list[Event]:
        """Every event so far, in order."""
        return events(self.recorded)

    @property
    def recorded(self) -> Recorded:
        """The timeline in short."""
        return tuple((chain, labels.tobytes()) for chain, labels in self._logs)

    @property
    def live_bytes_over_time(self) -> list[int]:
        """Live bytes after each event of the timeline."""
        return live_bytes_after(self.timeline)

    def forward(self, layer: int, nbytes: int, flops: int) -> None:
        """The layer is computed; its activation is new and has `nbytes`, or overwrites the one before and has 0."""
        self.forward_steps += 1
        self.forward_flops += flops
        self._live[_WORKING] += nbytes
        self._record("forward", layer, nbytes)

    def forward_in_place(self, layers: range, flops: int) -> None:
        """The layers are computed, each written over the one before: as `forward` of each, with `flops` in all."""
        self.forward_steps += len(layers)
        self.forward_flops += flops
        self._record("forward", layers[0], 0)
        label, apart = self._labels[-1], len(ACTIONS) * len(PHASES) * len(SIGNS)
        self._labels.extend(range(label + apart, label + apart * len(layers), apart))

    def keep(self, layer: int, nbytes: int) -> None:
        """The schedule holds the activation from now on: it is a checkpoint."""
        self._move(_WORKING, _CHECKPOINTS, nbytes)
        self._cached[layer] = True
        self._cached_count += 1
        self.peak_cached_layers = max(self.peak_cached_layers, self._cached_count)
        self._record("keep", layer, 0)

    def drop(self, layer: int, nbytes: int) -> None:
        """The schedule gives the activation up; its bytes go with the next release, overwrite or forward."""
        self._move(_CHECKPOINTS, _WORKING, nbytes)
        self._forget(layer)
        self._record("drop", layer, 0)

    def release(self, layer: int, nbytes: int) -> None:
        """The activation is freed, or handed to the caller."""
        self._live[_WORKING] -= nbytes
        self._record("release", layer, -nbytes)

    def hit(self, layer: int) -> None:
        """The activation is asked for and held."""
        self.hits += 1
        self._record("hit", layer, 0)

    def miss(self, layer: int) -> None:
        """The activation is asked for and has to be recomputed."""
        self.misses += 1
        self._record("miss", layer, 0)

    def delta(self, layer: int, nbytes: int) -> None:
        """The gradient of the loss gets a buffer of its own."""
        self._live[_DELTAS] += nbytes
        self._record("delta", layer, nbytes)

    def overwrite(self, layer: int, nbytes: int) -> None:
        """The layer's activation is now the gradient there, in the same buffer."""
        if self._cached[layer]:
            self._move(_CHECKPOINTS, _DELTAS, nbytes)
            self._forget(layer)
        else:
            self._move(_WORKING, _DELTAS, nbytes)
        self._record("overwrite", layer, 0)

    def release_delta(self, layer: int, nbytes: int) -> None:
        """The gradient at the layer is freed."""
        self._live[_DELTAS] -= nbytes
        self._record("release_delta", layer, -nbytes)

    def parameter_deltas(self, layer: int, nbytes: int) -> None:
        """The layer's weight gradient is made."""
        self._live[_PARAMETER_DELTAS] += nbytes
        self._record("parameter_deltas", layer, nbytes)

    def accumulate(self, layer: int, nbytes: int) -> None:
        """The layer's weight gradient is added to those of earlier parts, and freed."""
        self._live[_PARAMETER_DELTAS] -= nbytes
        self._record("accumulate", layer, -nbytes)

    def apply(self, layer: int, nbytes: int) -> None:
        """The layer's parameters are updated, and its weight gradient is freed."""
        self._live[_PARAMETER_DELTAS] -= nbytes
        self._record("apply", layer, -nbytes)

    def workspace(self, nbytes: int) -> None:
        """`nbytes` of scratch allocated, or freed where negative; it belongs to the pass, so its layer is 0."""
        self._live[_WORKSPACE] += nbytes
        self._record("workspace", 0, nbytes)

    def part(self, chain: Chain) -> None:
        """A part of the batch begins, of these sizes."""
        if self._logs[-1:] == self._logs[-2:-1]:  # most parts are alike, and one log serves them all
            self._logs[-1] = self._logs[-2]
        self.phase = "forward"
        self._labels = _log(chain)
        self._logs.append((chain, self._labels))
        self._record("part", 0, 0)

    def outputs(self, nbytes: int) -> None:
        """`nbytes` for the outputs of all parts, allocated, or counted out where negative."""
        self._live[_WORKING] += nbytes
        self._record("outputs", self.chain.depth, nbytes)

    def _forget(self, layer: int) -> None:
        self._cached[layer] = False
        self._cached_count -= 1

    def _move(self, source: int, target: int, nbytes: int) -> None:
        self._live[source] -= nbytes
        self._live[target] += nbytes

    def _record(self, action: str, layer: int, change: int) -> None:
        code = (layer * len(ACTIONS) + _CODES[action]) * len(PHASES) + PHASES.index(self.phase)
        sign = 0 if change == 0 else 1 if change > 0 else 2
        self._labels.append(code * len(SIGNS) + sign)
        self.live_bytes += change
        if self.live_bytes > self.peak_bytes:
            self.peak_bytes = self.live_bytes
            self._peak = tuple(self._live)
        if self._observer:
            self._observer()


def events(recorded: Recorded) -> list[Event]:
    """The events that were recorded, in order."""
    return [_event(chain, label) for chain, labels in recorded for label in _log(chain, labels)]


def _event(chain: Chain, label: int) -> Event:
    code, sign = divmod(label, len(SIGNS))
    code, phase = divmod(code, len(PHASES))
    layer, action = divmod(code, len(ACTIONS))
    nbytes = SIGNS[sign] * _bytes(chain, ACTIONS[action], layer) if sign else 0
    return Event(PHASES[phase], ACTIONS[action], layer, nbytes)


def _bytes(chain: Chain, action: str, layer: int) -> int:
    match action:
        case "workspace":
            return chain.workspace_bytes
        case "parameter_deltas" | "accumulate" | "apply":
            return chain.parameter_delta_bytes[layer]
        case "outputs":
            return chain.outputs_bytes
    return chain.after_bytes[layer]


FORWARD, WORKSPACE, OUTPUTS = (_CODES[action] for action in ("forward", "workspace", "outputs"))
"""Places of actions in `ACTIONS`."""
ARE_GRADIENTS = np.array([action in ("parameter_deltas", "accumulate", "apply") for action in ACTIONS])
"""By the place of an action in `ACTIONS`: whether its bytes are those of a layer's weight gradients."""


def event_arrays(chain: Chain, labels: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of each event of a log: its layer, its action's place in `ACTIONS`, the sign of its bytes, and its bytes.

    A step may have a million events, and as objects they would take seconds. Bytes are floats, because those of several
    buffers may pass 64 bits where those of each do not.
    """
    codes, signs = np.divmod(np.array(_log(chain, labels)).astype(np.int64), len(SIGNS))
    layers, actions = np.divmod(codes // len(PHASES), len(ACTIONS))
    signs = np.array(SIGNS)[signs]
    nbytes = np.array(chain.after_bytes, np.float64)[layers]
    gradients = ARE_GRADIENTS[actions]
    nbytes[gradients] = np.array(chain.parameter_delta_bytes, np.float64)[layers[gradients]]
    nbytes[actions == OUTPUTS] = chain.outputs_bytes
    nbytes[actions == WORKSPACE] = chain.workspace_bytes
    return layers, actions, signs, signs * nbytes


def live_bytes_after(timeline: Iterable[Event]) -> list[int]:
    """Live bytes after each event."""
    return list(itertools.accumulate(event.bytes for event in timeline))
