"""The network that keeps some activations and recomputes the others during the backward pass."""

import numbers
from collections.abc import Collection, Iterable, Set
from typing import Any

import numpy as np

from networks.cache import ActivationCache, CachedCosts
from networks.perceptron import Deltas, MultiLayerPerceptron
from networks.schedules import FACTORIES, Keep, Schedule
from networks.schedules.periodic import periodic
from networks.schedules.portable import HasSchedule, schedule_name
from networks.wording import cut


class NetworkWithCheckpointing(HasSchedule, MultiLayerPerceptron):
    """A multi-layer perceptron that keeps every `checkpoint_frequency`-th after and recomputes the others.

    An *after* is a layer's activation: its output after the activation function.

    `recompute` is `"segment"` or `"each"`; `networks.schedules.periodic` explains both. A `schedule` can be given
    instead of the two: one of `networks.schedules`, or a function of your own. All options of `Network` are options
    here. The same seed gives the same weights as in `Network`. The same inputs then give the same outputs and
    gradients, bit for bit.

    Between `forward` and `backward`, `get_cached_after_or_calculate` returns any after.
    """

    schedule: Schedule
    _cache: ActivationCache
    _keep: Keep
    _query_flops: int

    def __init__(
        self,
        layers: Iterable[int],
        *,
        checkpoint_frequency: int | None = None,
        recompute: str = "segment",
        schedule: Schedule | None = None,
        **options: Any,
    ):
        if (checkpoint_frequency is None) == (schedule is None):
            raise ValueError(
                "one of checkpoint_frequency and schedule must be given, "
                f"got checkpoint_frequency={checkpoint_frequency!r} and schedule={schedule_name(schedule)}"
            )
        if checkpoint_frequency is not None:
            schedule = periodic(checkpoint_frequency, recompute=recompute)
        elif recompute != "segment":
            raise ValueError(f"recompute={recompute!r} goes with checkpoint_frequency, not with a schedule")
        if not callable(schedule):
            raise ValueError(f"schedule must be a function of a chain, such as revolve(slots=4), got {schedule!r}")
        if schedule in FACTORIES.values():  # type: ignore[comparison-overlap]  # a caller's mistake
            name = schedule_name(schedule)
            raise ValueError(f"schedule must be what its factory makes, {name}(..), got the factory {name} itself")
        self.schedule = schedule
        super().__init__(layers, **options)

    def _described(self) -> list[str]:
        return [*super()._described(), cut(schedule_name(self.schedule))]

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return the class probabilities `(batch, classes)` of `x` `(batch, layers[0])`, ready for `backward`.

        As `Network.forward`; the same as `cache_afters_during_forward_pass`.
        """
        return self.cache_afters_during_forward_pass(x)

    def backward(self, y: np.ndarray) -> Deltas:
        """Return the gradients of the mean cross-entropy: `[(weights_delta, biases_delta), ..]` of layers 1..L.

        As `Network.backward`; the same as `get_params_deltas_from_backward_pass`.
        """
        return self.get_params_deltas_from_backward_pass(y)

    def cache_afters_during_forward_pass(self, x: np.ndarray) -> np.ndarray:
        """Run every layer, cache the activations that the schedule keeps, and return the outputs.

        The last hidden after stays resident as well: backward asks for it first.
        """
        return super().forward(x)

    def get_params_deltas_from_backward_pass(self, y: np.ndarray) -> Deltas:
        """Walk the layers from the last to the first, recomputing the activations that are not cached.

        Returns and raises as `Network.backward`.
        """
        return super().backward(y)

    def get_cached_after_or_calculate(self, layer: int) -> np.ndarray:
        """Return after[layer] `(batch, layers[layer])`: from the cache, or recomputed by `forward_up_to_layer`.

        0 is the input, L the outputs. The array may be the cache's own: read it, do not write to it; it is
        valid until `backward`. Asking costs forward steps, and changes neither the cache nor what `backward` returns.
        Raises RuntimeError without a forward pass, ValueError for a layer that is not there.
        """
        self._guard.enter()
        try:
            self._check_layer(layer)
            return self._cached_or_calculated(layer)
        finally:
            self._guard.leave()

    def forward_up_to_layer(self, layer: int) -> np.ndarray:
        """Compute after[layer] from the nearest cached activation at or below it, and return it.

        Within a pass the schedule says which activations of the stretch are cached, and which cached ones go. Between
        the passes nothing is cached and nothing goes. Valid until `backward`; raises as
        `get_cached_after_or_calculate`.
        """
        self._guard.enter()
        try:
            self._check_layer(layer)
            return self._forward_up_to(layer)
        finally:
            self._guard.leave()

    def _cached_or_calculated(self, layer: int) -> np.ndarray:
        if layer in self._cache:
            self.tracker.hit(layer)
            cached: np.ndarray = self._cache[layer]
            return cached
        self.tracker.miss(layer)
        return self._forward_up_to(layer)

    def _forward_up_to(self, layer: int) -> np.ndarray:
        start = self._cache.nearest(layer)
        after: np.ndarray
        if start == layer:
            after = self._cache[layer]
            return after
        if self._workspace is None:
            executed = self._executed_flops
            with self._pass("query"):
                after = self._run_stretch(start, layer, kept=frozenset(self._cache), last=None)
                self.tracker.release(layer, self._chain.after_bytes[layer])
            self._query_flops = self.tracker.forward_flops - executed
            return after
        kept, dropped = self._ask_schedule(start, layer)
        self._cache.use(start, self._executed_flops)
        for position in dropped:
            self.tracker.drop(position, self._chain.after_bytes[position])
            if position != start:
                self._cache.take(position)
                self.tracker.release(position, self._chain.after_bytes[position])
        # What backward asks for first after this stretch stays until it does, kept or not.
        return self._run_stretch(start, layer, kept=kept, last=min(layer, self._chain.depth - 1))

    def _run_stretch(self, start: int, stop: int, *, kept: Collection[int], last: int | None) -> np.ndarray:
        """Run layers start+1..stop, cache the `kept` activations and the `last` one, and return after[stop]."""
        chain, cache, tracker = self._chain, self._cache, self.tracker
        after: np.ndarray = cache[start] if start in kept else cache.take(start)
        for number in range(start + 1, stop + 1):
            free = number - 1 not in cache
            slide = free and chain.slides[number]
            after = self._layers[number - 1].forward(after, chain, self._workspace, tracker, in_place=slide)
            if free and not slide:
                tracker.release(number - 1, chain.after_bytes[number - 1])
            if number < chain.depth and (number in kept or number == last):
                cache.put(number, after, self._executed_flops)
            if number < chain.depth and number in kept:
                tracker.keep(number, chain.after_bytes[number])
        return after

    def _ask_schedule(self, start: int, stop: int) -> tuple[frozenset[int], Set[int]]:
        """Return the positions to keep, and those of the cache to drop; a schedule's mistake is a ValueError."""
        cached = self._cache.costs(self._executed_flops)
        return self._changes(cached, self._answer(self._keep(cached, start, stop)), start, stop)

    def _changes(
        self, cached: CachedCosts, kept: frozenset[int], start: int, stop: int
    ) -> tuple[frozenset[int], Set[int]]:
        """`kept`, which holds positions of `cached` and of the stretch, and the positions of `cached` that it lacks."""
        dropped = cached.keys() - kept
        # Counting finds a stranger without another walk over thousands of positions.
        known = len(cached) - len(dropped) + len(kept.intersection(range(start + 1, stop + 1)))
        if len(kept) != known or 0 not in kept:
            strangers = sorted(kept - cached.keys() - set(range(start + 1, stop + 1)), key=str)
            fault = f"holds {strangers}, neither cached nor in the stretch" if strangers else "drops 0, the input"
            raise ValueError(
                f"schedule {schedule_name(self.schedule)} {fault}: asked for layers {start + 1}..{stop} "
                f"with {sorted(cached)} cached, it answered {sorted(kept, key=str)}"
            )
        return kept, dropped

    def _answer(self, positions: Collection[int]) -> frozenset[int]:
        try:
            answer = frozenset(positions)
        except TypeError:
            answer = None
        if answer is None or bool in set(map(type, answer)):
            raise ValueError(
                f"schedule {schedule_name(self.schedule)} must answer with the positions to keep, such as {{0, 4}}, "
                f"got {positions!r}"
            )
        return answer

    @property
    def _executed_flops(self) -> int:
        """Forward operations of the passes alone: the clock by which schedules see how long an activation is unused."""
        return self.tracker.forward_flops - self._query_flops

    def _check_layer(self, layer: int) -> None:
        # Inside a pass the workspace is there.
        if self._workspace is None:
            self._require_forward()
        if isinstance(layer, bool) or not isinstance(layer, numbers.Integral) or not 0 <= layer < len(self.layers):
            raise ValueError(f"layer must be an integer from 0 to {len(self.layers) - 1}, got {layer!r}")

    def _run_layers(self, x: np.ndarray) -> np.ndarray:
        self._cache = self._new_cache(x)
        self._query_flops = 0
        self._keep = self.schedule(self._chain)
        if not callable(self._keep):
            raise ValueError(
                f"schedule {schedule_name(self.schedule)} must return a function keep(cached, start, stop), "
                f"got {self._keep!r}"
            )
        return self._forward_up_to(self._chain.depth)

    def _new_cache(self, x: np.ndarray) -> ActivationCache:
        return ActivationCache(x, self._chain.depth, self.tracker.forward_flops)

    def _take_after(self, position: int) -> np.ndarray:
        self._cached_or_calculated(position)
        after: np.ndarray = self._cache.take(position)
        return after

    def _discard_afters(self) -> None:
        # Within a step they are there, and outside one nothing reads them.
        self._cache = None  # type: ignore[assignment]
        self._keep = None  # type: ignore[assignment]
