"""A model cut at the calls of some of its modules: its own forward stays the code that runs before and after them.

While the model runs, the calls of these modules, its members, are intercepted. The first call gives the first border
and runs the whole chain. The last call returns the last border. Those between return tensors of the right shapes that
hold nothing but NaN, so a model that computes with them shows itself.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from networks.torch_models.borders import Border, BoundPiece, Crossing, RunPieces, places_in
from networks.torch_models.fingerprints import described_module, described_settings, described_values
from networks.torch_models.trees import arguments_of, flat_arguments, flat_result, result_of

Function = Callable[..., Any]


@dataclass(frozen=True)
class FirstLeaf:
    """A leaf of a call's arguments that is the very object which the first call got as its leaf number `index`."""

    index: int


@dataclass(frozen=True)
class Returned:
    """What a call returns: a tree whose leaves at `taken` are the next border. The others have no reader."""

    tree: Any
    leaves: tuple[Any, ...]
    taken: tuple[int, ...]

    def as_it_is(self) -> Any:
        """What the call returned, unchanged."""
        return result_of(list(self.leaves), self.tree)

    def filled(self, border: Border) -> Any:
        """What the call returned, with the tensors of `border` in place of its own."""
        leaves = list(self.leaves)
        for position, tensor in zip(self.taken, border, strict=True):
            leaves[position] = tensor
        return result_of(leaves, self.tree)


@dataclass(frozen=True)
class MemberCall:
    """One call of a member. Each leaf of its arguments is a `Crossing`, a `FirstLeaf`, or a value that is no tensor."""

    name: str
    member: torch.nn.Module
    tree: Any
    leaves: tuple[Any, ...]
    returned: Returned

    def run(self, function: Function, first: Sequence[Any], border: Border) -> Border:
        """Call `function`, the member's own, on the border and on what the first call was given."""
        args, kwargs = arguments_of([_value(leaf, first, border) for leaf in self.leaves], self.tree)
        returned, _ = flat_result(function(*args, **kwargs))
        return tuple(returned[position] for position in self.returned.taken)

    def bound(self, function: Function, first: Sequence[Any]) -> BoundPiece:
        """Make it a piece for a call of the model."""
        shared = tuple(first[leaf.index] for leaf in self.leaves if isinstance(leaf, FirstLeaf))
        return BoundPiece(partial(self.run, function, first), shared)

    def is_given(self, leaves: Sequence[Any], tree: Any, first: Sequence[Any]) -> bool:
        """Whether a later call gets what it got in the trial, beside the border."""
        return tree == self.tree and all(
            isinstance(leaf, Crossing) or _is_same(_value(leaf, first, ()), given)
            for leaf, given in zip(self.leaves, leaves, strict=True)
        )


def _value(leaf: Any, first: Sequence[Any], border: Border) -> Any:
    if isinstance(leaf, Crossing):
        return border[leaf.index]
    return first[leaf.index] if isinstance(leaf, FirstLeaf) else leaf


def _is_same(one: Any, other: Any) -> bool:
    if one is other or isinstance(one, torch.Tensor) or isinstance(other, torch.Tensor):
        return one is other
    try:
        return bool(one == other)
    except ValueError:  # of arrays
        return np.array_equal(one, other)


class MemberCalls:
    """A `Cutting`: the calls of a model's members. They are found by running its `forward` once, without gradients."""

    def __init__(self, forward: Function, members: Mapping[str, torch.nn.Module], inputs: tuple[Any, ...]):
        self._forward = forward
        recorder = _Recorder(members)
        before = {part: described_settings(part) for member in members.values() for part in member.modules()}
        with _intercepted(members.values(), recorder):
            forward(*inputs)
        self._calls = recorder.finished()
        self._start = recorder.start
        self.names = tuple(call.name for call in self._calls)
        self.descriptions = tuple(
            f"{described_module(call.member, before)}\n{recorder.given(call)}" for call in self._calls
        )
        self.trains = tuple(any(p.requires_grad for p in call.member.parameters()) for call in self._calls)
        self.reads = tuple(places_in(call.member) for call in self._calls)

    def __call__(self, run_pieces: RunPieces, inputs: tuple[Any, ...]) -> Any:
        run = _Run(self._calls, self._start, run_pieces)
        with _intercepted([call.member for call in self._calls], run):
            output = self._forward(*inputs)
        run.check_finished()
        return output


def _own_functions(members: Iterable[torch.nn.Module]) -> dict[int, Function]:
    """What a call of each member runs, hooks included; by the member's id."""
    return {id(member): vars(member).get(_COMPILED) or member._call_impl for member in members}


_COMPILED = "_compiled_call_impl"
"""`Module.__call__` runs this in place of hooks and forward where a module has it, as after `Module.compile`."""


@contextmanager
def _intercepted(members: Iterable[torch.nn.Module], handler: Function) -> Iterator[None]:
    """Call `handler(member, *args, **kwargs)` wherever a member is called."""
    before = {id(member): (vars(member), vars(member).get(_COMPILED), member) for member in members}
    for attributes, _, member in before.values():
        attributes[_COMPILED] = partial(handler, member)
    try:
        yield
    finally:
        # The name stays, with None as its class has it. Deleted and set again, it would make its dictionary grow anew.
        for attributes, compiled, _ in before.values():
            attributes[_COMPILED] = compiled


class _Recorder:
    """Lets the members run and notes where each argument comes from."""

    def __init__(self, members: Mapping[str, torch.nn.Module]):
        self._own = _own_functions(members.values())
        self._names: dict[int, list[str]] = {}
        for name, member in members.items():
            self._names.setdefault(id(member), []).append(name)
        self._calls: list[MemberCall] = []
        self._first: list[Any] = []
        self._before: list[Any] = []
        self.start: tuple[int, ...] = ()

    def __call__(self, member: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        leaves, tree = flat_arguments(args, kwargs)
        name = self._next_name(member)
        if self._calls:
            sources = self._later(name, leaves)
        else:
            self._first = leaves
            self.start = tuple(i for i, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor))
            sources = self._of_the_first()
        returned = self._own[id(member)](*args, **kwargs)
        self._before, returned_tree = flat_result(returned)
        self._calls.append(MemberCall(name, member, tree, sources, self._returned(returned_tree)))
        return returned

    def _next_name(self, member: torch.nn.Module) -> str:
        names, calls = self._names[id(member)], sum(call.member is member for call in self._calls)
        return names[calls] if calls < len(names) else f"{names[-1]} (call {calls + 1})"

    def _of_the_first(self) -> tuple[Any, ...]:
        crossing = {position: Crossing(index) for index, position in enumerate(self.start)}
        leaves = enumerate(self._first)
        return tuple(crossing.get(i, FirstLeaf(i) if isinstance(leaf, torch.Tensor) else leaf) for i, leaf in leaves)

    def _later(self, name: str, leaves: list[Any]) -> tuple[Any, ...]:
        """Where the leaves come from, now that it is known which results of the call before are taken."""
        if len(self._calls) == 1:
            shared = [i for i in self.start if i < len(leaves) and leaves[i] is self._first[i]]
            self.start = tuple(i for i in self.start if i not in shared) or self.start
            self._replace_last(leaves=self._of_the_first())
        taken: list[int] = []
        sources = tuple(self._source(name, leaf, taken) for leaf in leaves)
        if not taken:
            raise ValueError(f"{name} gets nothing of what {self._calls[-1].name} returns, so they are no chain")
        self._replace_last(returned=self._passing(taken))
        return sources

    def _source(self, name: str, leaf: Any, taken: list[int]) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return leaf
        position = _position(leaf, self._before)
        if position is not None:
            if position not in taken:
                taken.append(position)
            return Crossing(taken.index(position))
        position = _position(leaf, self._first)
        if position is None:
            raise ValueError(
                f"{name} gets a tensor {tuple(leaf.shape)} that neither {self._calls[-1].name} returns nor "
                f"{self._calls[0].name} gets: the model computes it between them. Give blocks as a list of callables"
            )
        return FirstLeaf(position)

    def _returned(self, tree: Any) -> Returned:
        """What the model gets if this is the last call: all of it."""
        taken = tuple(i for i, leaf in enumerate(self._before) if isinstance(leaf, torch.Tensor))
        return Returned(tree, tuple(None if i in taken else leaf for i, leaf in enumerate(self._before)), taken)

    def _passing(self, taken: list[int]) -> Returned:
        """What the model gets in place of a result that only the next block needs."""
        leaves = (_nothing_like(leaf) if isinstance(leaf, torch.Tensor) else leaf for leaf in self._before)
        return Returned(self._calls[-1].returned.tree, tuple(leaves), tuple(taken))

    def _replace_last(self, **changes: Any) -> None:
        self._calls[-1] = MemberCall(**{**vars(self._calls[-1]), **changes})

    def finished(self) -> tuple[MemberCall, ...]:
        if not self._calls:
            raise ValueError(f"{next(iter(self._names.values()))[0]} and its neighbours are never called by the model")
        self._before = []
        return tuple(self._calls)

    def given(self, call: MemberCall) -> str:
        """What a call gets beside the border."""
        leaves = (self._first[leaf.index] if isinstance(leaf, FirstLeaf) else leaf for leaf in call.leaves)
        return described_values(leaves)


def _position(leaf: Any, among: Sequence[Any]) -> int | None:
    return next((i for i, other in enumerate(among) if other is leaf), None)


def _nothing_like(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of the same shape that takes no memory and holds NaN, or zeros where its dtype has no NaN."""
    value = float("nan") if tensor.is_floating_point() or tensor.is_complex() else 0
    return torch.full((), value, dtype=tensor.dtype, device=tensor.device).expand(tensor.shape)


class _Run:
    """One run of the model: the chain at the first call, its result at the last."""

    def __init__(self, calls: tuple[MemberCall, ...], start: tuple[int, ...], run_pieces: RunPieces):
        self._calls, self._start, self._run_pieces = calls, start, run_pieces
        self._own = _own_functions(call.member for call in calls)
        self._done = 0
        self._first: list[Any] = []
        self._border: Border = ()

    def __call__(self, member: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        leaves, tree = flat_arguments(args, kwargs)
        if not self._done:
            self._first = leaves
        call = self._calls[self._done] if self._done < len(self._calls) else None
        if call is None or call.member is not member or not call.is_given(leaves, tree, self._first):
            raise RuntimeError(
                f"call {self._done + 1} of the model's blocks is another than on the sample, or gets other arguments: "
                "its blocks must be called in one order, with the same arguments beside the tensors that pass through"
            )
        self._done += 1
        if self._done == 1:
            self._border = self._run_all()
        is_last = self._done == len(self._calls)
        return call.returned.filled(self._border) if is_last else call.returned.as_it_is()

    def _run_all(self) -> Border:
        pieces = [call.bound(self._own[id(call.member)], self._first) for call in self._calls]
        return self._run_pieces(pieces, tuple(self._first[i] for i in self._start))

    def check_finished(self) -> None:
        if self._done != len(self._calls):
            raise RuntimeError(f"the model called {self._done} of its {len(self._calls)} blocks")
