"""A chain of blocks under a schedule: the forward pass drops what is not kept, and the backward pass runs it again.

Autograd builds the graph of the whole chain as it always does. Only the tensors that it holds for the backward pass are
handled here. A block that is not *taped* runs under a pair of saved-tensor hooks. The first hook drops each tensor. The
second one is called when the backward pass asks for the tensor: it runs the schedule, and returns the tensor of the
rerun. So all else that users do with a graph works: accumulated gradients, hooks, `torch.autograd.grad`, retained
graphs.

Positions are unfolded: 2l is x[l], the *border* after block l, and 2l-1 is the tape of block l. x[0] is the caller's.

What a rerun repeats, and what not:

- A rerun calls the block again, so hooks of its modules fire again. The last rerun of a block ends once it has all
  tensors that autograd needs. So a forward hook at the block's end may not see it. If the rerun would hand autograd
  more tensors at its end than the first run, this is not always found.
- Generators of PyTorch are put back. Those of Python and NumPy, and generators that the user made, are not.
- A rerun reads the parameters and buffers that the first run read, also where modules have others since. If one of them
  was written since, that is an error. Of a callable that is no module, only trained parameters are known.
- Under autocast, casts are not cached. So the gradients of a weight that is used twice are added in its own type, and
  not in the lower one.
"""

import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from types import MethodType
from typing import NamedTuple, NoReturn

import torch
from torch.autograd.graph import saved_tensors_hooks

from networks.schedules.signature import Keep
from networks.torch_models.borders import Border, Place, RunBlock, in_order
from networks.torch_models.conditions import Autocast, Conditions, Reads, Versions, parameters_of
from networks.torch_models.saved_tensors import (
    AllSaved,
    Form,
    Tape,
    note_form,
    refuse_other,
    save_again,
    told,
    untraced,
)


@dataclass(frozen=True)
class Facts:
    """What the executor must know of a block to run it again.

    Attributes:
        name: what messages call it.
        flops: work of a run, in any unit that all blocks share.
        random: whether it draws from PyTorch's generators.
        buffers: those that it writes, each as a module and the buffer's name there.
        reads: the parameters and other buffers that it may read. Trained parameters are found without it.
        given: other tensors that it reads, besides the border.
    """

    name: str
    flops: int = 1
    random: bool = False
    buffers: tuple[tuple[torch.nn.Module, str], ...] = ()
    reads: tuple[Place, ...] = ()
    given: tuple[torch.Tensor, ...] = ()


def execute(blocks: Sequence[RunBlock], facts: Sequence[Facts], keep: Keep, inputs: Border) -> Border:
    """Run the blocks on x[0] and return x[L]. The backward pass of x[L] reruns what `keep` does not hold.

    If no gradients are recorded, the blocks just run. RuntimeError is raised under the transforms of torch.func, and
    in a backward pass that a rerun cannot serve: x[0] or what a block reads was changed since, or a block did something
    else.
    """
    if torch.compiler.is_dynamo_compiling():  # blocks may be compiled one by one, the schedule may not
        eagerly: Callable[..., Border] = torch.compiler.disable(execute)
        return eagerly(blocks, facts, keep, inputs)
    if not torch.is_grad_enabled():
        return in_order(blocks, inputs)
    refuse_transforms()
    return _TrainingStep(blocks, facts, keep, inputs).forward(inputs)


def refuse_transforms() -> None:
    """Raise RuntimeError under the transforms of torch.func."""
    if torch._C._functorch.peek_interpreter_stack() is not None:
        raise RuntimeError(
            "torch.func.grad, torch.vmap and their like cannot go through blocks that are run again: "
            "give them the plain model"
        )


_COMPILED = "CompiledFunctionBackward"
"""The operation of compiled code in autograd's graph. It asks once for what was saved, and frees it as it goes."""


class _FirstRun(NamedTuple):
    """What each rerun of a block must find again."""

    requires_grad: list[bool]
    """Of each tensor that it was given."""
    conditions: Conditions
    reads: Reads
    parameters: Versions
    saved: list[Form]
    returned: list[Form]


class _TrainingStep:
    """One forward pass and what its backward pass needs. The graph owns it, and it holds no part of the graph.

    x[0] goes when autograd has let go of all that it saved, because a loss, and the graph with it, may live on.
    """

    def __init__(self, blocks: Sequence[RunBlock], facts: Sequence[Facts], keep: Keep, inputs: Border):
        self._blocks = blocks
        self._facts = facts
        self._keep = keep
        self._borders: dict[int, Versions] = {0: _detached(inputs)}
        self._tapes: dict[int, Tape] = {}
        self._taken: dict[tuple[int, int, int], torch.Tensor] = {}
        self._taped_at_first: set[int] = set()
        self._first_runs: dict[int, _FirstRun] = {}
        self._autocast = Autocast(inputs)
        self._now = 0
        self._used = {0: 0}

    def forward(self, x: Border) -> Border:
        depth = len(self._blocks)
        kept = self._keep({0: 0}, 0, 2 * depth)
        untaped = [number for number in range(1, depth + 1) if 2 * number - 1 not in kept]
        if not untaped:
            return in_order(self._blocks, x)
        self._taped_at_first = set(range(1, depth + 1)).difference(untaped)
        pack, borders = untraced(note_form), self._borders
        unpack = MethodType(untraced(_TrainingStep._unpack), self)
        reached = MethodType(untraced(_TrainingStep._reached), self)
        self._until_let_go = weakref.ref(unpack, lambda _: borders.clear())
        with self._autocast.as_in_reruns():
            for number in range(1, untaped[-1] + 1):
                saved: list[Form] = []
                taped = number in self._taped_at_first
                with nullcontext() if taped else saved_tensors_hooks(partial(pack, saved), partial(unpack, number)):
                    x = self._first_run(number, x, saved)
                _call_with_deltas(x, partial(reached, number))
                if number < untaped[-1] and 2 * number in kept:
                    self._hold(number, x)
            self._now += sum(facts.flops for facts in self._facts[untaped[-1] :])
            for run in self._blocks[untaped[-1] :]:  # none of these is ever run again
                x = run(x)
            return x

    def _first_run(self, number: int, x: Border, saved: list[Form]) -> Border:
        run, facts = self._blocks[number - 1], self._facts[number - 1]
        self._now += facts.flops
        requires_grad = [tensor.requires_grad for tensor in x]
        conditions = Conditions(random=facts.random, buffers=facts.buffers)
        reads = Reads(facts.reads, facts.given)
        since = torch.autograd._get_sequence_nr()
        x = run(x)
        reads.leave_out_written()
        parameters = Versions(parameters_of(x, since=since))
        forms = [(tensor.shape, tensor.dtype) for tensor in x]
        self._first_runs[number] = _FirstRun(requires_grad, conditions, reads, parameters, saved, forms)
        self._used[2 * number - 1] = self._now
        return x

    def _hold(self, number: int, x: Border) -> None:
        self._borders[number] = _detached(x)
        self._used[2 * number] = self._now

    def _reached(self, number: int, gradient: torch.Tensor) -> None:
        self._drop_above(number)

    def _drop_above(self, number: int) -> None:
        """The backward pass has come down to block `number`: what serves the blocks above is done with."""
        self._taken = {key: tensor for key, tensor in self._taken.items() if key[1] <= number}
        for held in [held for held in self._borders if held >= max(1, number)]:
            del self._borders[held]
        for taped in [taped for taped in self._tapes if taped > number]:
            del self._tapes[taped]

    def _unpack(self, number: int, place: int) -> torch.Tensor:
        """The tensor that an operation's backward asks for. It is let go of, because each asks once.

        Only a Function of the user's may ask again, so what it has got stays until the next operation asks.
        """
        node = torch._C._current_autograd_node()
        asked = id(node), number, place
        if asked in self._taken:
            return self._taken[asked]
        self._taken = {key: tensor for key, tensor in self._taken.items() if key[0] == id(node)}
        tensor = self._taken_from_tape(number, place)
        if isinstance(node, torch._C._FunctionBase) and type(node).__name__ != _COMPILED:
            self._taken[asked] = tensor
        return tensor

    def _taken_from_tape(self, number: int, place: int) -> torch.Tensor:
        tape = self._tapes.get(number)
        if tape is None or tape[place] is None:
            self._rerun(number)
            tape = self._tapes[number]
        held = tape[place]
        assert held is not None
        tape[place] = None  # autograd lets go of it once the operation's backward is done
        tensor, version = held
        if tensor._version != version:  # autograd's own check, which hooks leave to us
            raise RuntimeError(
                f"block {self._name(number)} wrote over a tensor {tuple(tensor.shape)} that its backward pass needs"
            )
        return tensor

    def _rerun(self, number: int) -> None:
        """Run what the schedule says so that the tape of block `number` is there."""
        if number not in self._first_runs:
            self._refuse_backward(number)
        self._drop_above(number)
        self._tapes.pop(number, None)  # it was used up, by a backward pass before this one
        start = max(held for held in self._borders if held < number)
        kept = frozenset(self._keep(self._cached(number), 2 * start, 2 * number - 1))
        self._used[2 * start] = self._now
        x = self._intact(start)
        self._drop_all_but(kept)
        taped = {2 * has - 1 for has in (*self._taped_at_first, *self._tapes)}
        for rerun in range(start + 1, number + 1):
            tapes = rerun == number or 2 * rerun - 1 in kept - taped
            x = self._run_again(rerun, x, taped=tapes, last=rerun == number)
            if rerun < number and 2 * rerun in kept:
                self._hold(rerun, x)

    def _cached(self, number: int) -> Mapping[int, int]:
        """What is held, and the work done since it was last used."""
        tapes = {taped for taped in self._taped_at_first if taped < number} | self._tapes.keys()
        held = sorted({2 * border for border in self._borders} | {2 * taped - 1 for taped in tapes})
        return {position: self._now - self._used[position] for position in held}

    def _intact(self, number: int) -> Border:
        if not self._borders[number].are_those_of_now:
            what = f"what block {self._name(number)} returned" if number else "what the first block was given"
            raise RuntimeError(
                f"{what} was written over between the forward and the backward pass, so it cannot be used again: "
                "write into a copy"
            )
        return self._borders[number].tensors

    def _drop_all_but(self, kept: Collection[int]) -> None:
        for border in [border for border in self._borders if border and 2 * border not in kept]:
            del self._borders[border]
        for taped in [taped for taped in self._tapes if 2 * taped - 1 not in kept]:
            del self._tapes[taped]

    def _run_again(self, number: int, x: Border, *, taped: bool, last: bool) -> Border:
        first = self._first_runs[number]
        if changed := first.reads.changed() or ("" if first.parameters.are_those_of_now else "a parameter"):
            raise RuntimeError(
                f"{changed} of block {self._name(number)} was changed between the forward and the backward pass, so "
                "gradients would be wrong: change it once the backward pass is done"
            )
        self._now += self._facts[number - 1].flops
        with (
            self._autocast.again(),
            first.conditions.again(),
            first.reads.again(),
            torch.set_grad_enabled(taped),
        ):
            if taped:
                return self._tape_again(number, x, last=last)
            x = self._blocks[number - 1](x)
            self._check_output(number, x)
            return x

    def _tape_again(self, number: int, x: Border, *, last: bool) -> Border:
        saved = self._first_runs[number].saved
        tape: Tape = []
        leaves = zip(x, self._first_runs[number].requires_grad, strict=True)
        x = tuple(tensor.detach().requires_grad_(requires) for tensor, requires in leaves)
        try:
            pack = partial(untraced(save_again), self._name(number), saved, tape, last)
            with saved_tensors_hooks(pack, partial(self._refuse_backward, number)):
                x = self._blocks[number - 1](x)
            self._check_output(number, x)
        except AllSaved:
            x = ()
        if len(tape) != len(saved):
            refuse_other(self._name(number), f"saved {len(saved)} tensors", str(len(tape)))
        self._tapes[number] = tape
        self._used[2 * number - 1] = self._now
        return tuple(tensor.detach() for tensor in x)

    def _check_output(self, number: int, x: Border) -> None:
        first, again = self._first_runs[number].returned, [(tensor.shape, tensor.dtype) for tensor in x]
        if first != again:
            refuse_other(self._name(number), f"returned {told(*first)}", told(*again))

    def _refuse_backward(self, number: int, place: int | None = None) -> NoReturn:
        raise RuntimeError(
            f"block {self._name(number)} runs a backward pass of its own on what it computes, which a rerun cannot "
            "repeat: keep its tape and its output"
        )

    def _name(self, number: int) -> str:
        return self._facts[number - 1].name


def _call_with_deltas(x: Border, hook: Callable[[torch.Tensor], None]) -> None:
    for tensor in x:
        if tensor.grad_fn is not None:  # on a leaf, such as a parameter, it would stay for ever
            tensor.register_hook(hook)


def _detached(x: Border) -> Versions:
    return Versions([tensor.detach() for tensor in x])
