"""A chain of blocks under a schedule: the forward pass drops what is not kept, and the backward pass runs it again.

Autograd builds the graph of the whole chain as it always does. Only what it saves is taken care of: a block that is not
*taped* runs under a pair of saved-tensor hooks, of which one drops each tensor that autograd saves, and the other runs
the schedule when the backward pass asks for it, and hands out the tensor as the rerun saved it. So everything else that
users do with a graph works: accumulated gradients, hooks, `torch.autograd.grad`, retained graphs.

Positions are unfolded: 2l is x[l], the *border* after block l, and 2l-1 is the tape of block l. x[0] is the caller's.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch.autograd.graph import saved_tensors_hooks

from networks.schedules.signature import Keep
from networks.torch_models.chains import Border, Step


@dataclass(frozen=True)
class Facts:
    """What the executor must know of a block to run it again.

    Attributes:
        name: what messages call it.
        flops: work of a run, in any unit that all blocks share.
        random: whether it draws from PyTorch's generators.
        buffers: those that it writes, each as a module and the buffer's name there.
    """

    name: str
    flops: int = 1
    random: bool = False
    buffers: tuple[tuple[torch.nn.Module, str], ...] = ()


def execute(blocks: Sequence[Step], facts: Sequence[Facts], keep: Keep, inputs: Border) -> Border:
    """Run the blocks on x[0] and return x[L]. The backward pass of x[L] reruns what `keep` does not hold.

    Where no gradients are recorded the blocks just run.
    """
    if not torch.is_grad_enabled():
        for run in blocks:
            inputs = run(inputs)
        return inputs
    return _TrainingStep(blocks, facts, keep, inputs).forward(inputs)


class _Saved(NamedTuple):
    """What a rerun must save again at one place of a tape: `version` is that of a parameter, which must not change."""

    shape: torch.Size
    dtype: torch.dtype
    version: int | None


class _AllSaved(BaseException):
    """All that a tape holds is saved, so the rest of the rerun serves nobody; no `except Exception` is to catch it."""


class _TrainingStep:
    """One forward pass and what its backward pass needs. The graph owns it, and it holds no part of the graph."""

    def __init__(self, blocks: Sequence[Step], facts: Sequence[Facts], keep: Keep, inputs: Border):
        self._blocks = blocks
        self._facts = facts
        self._depth = len(blocks)
        self._keep = keep
        self._borders: dict[int, Border] = {0: _detached(inputs)}
        self._tapes: dict[int, list[torch.Tensor | None]] = {}
        self._taped_at_first: set[int] = set()
        self._requires_grad = {0: tuple(tensor.requires_grad for tensor in inputs)}
        self._saved: dict[int, list[_Saved]] = {}
        self._conditions: dict[int, _Conditions] = {}
        self._autocast = _Autocast(inputs)
        self._now = 0
        self._used = {0: 0}

    def forward(self, x: Border) -> Border:
        kept = self._keep({0: 0}, 0, 2 * self._depth)
        with self._autocast.as_in_reruns():
            for number in range(1, self._depth + 1):
                x = self._first_run(number, x, taped=number == self._depth or 2 * number - 1 in kept)
                if number < self._depth and 2 * number in kept:
                    self._hold(number, x)
        return x

    def _first_run(self, number: int, x: Border, *, taped: bool) -> Border:
        run, facts = self._blocks[number - 1], self._facts[number - 1]
        self._now += facts.flops
        if number < self._depth:
            self._conditions[number] = _Conditions(facts)
        if taped:
            self._taped_at_first.add(number)
            self._used[2 * number - 1] = self._now
            x = run(x)
        else:
            saved = self._saved[number] = []
            with saved_tensors_hooks(partial(_pack, saved), partial(self._unpack, number)):
                x = run(x)
        self._requires_grad[number] = tuple(tensor.requires_grad for tensor in x)
        for tensor in x:
            if tensor.requires_grad and number < self._depth:
                tensor.register_hook(partial(self._reach, number))
        return x

    def _hold(self, number: int, x: Border) -> None:
        self._borders[number] = _detached(x)
        self._used[2 * number] = self._now

    def _reach(self, number: int, gradient: torch.Tensor) -> None:
        """The backward pass has come down to block `number`: what serves the blocks above is done with."""
        for held in [held for held in self._borders if held >= max(1, number)]:
            del self._borders[held]
        for taped in [taped for taped in self._tapes if taped > number]:
            del self._tapes[taped]

    def _unpack(self, number: int, place: int) -> torch.Tensor:
        tape = self._tapes.get(number)
        if tape is None or tape[place] is None:
            self._rerun(number)
            tape = self._tapes[number]
        tensor = tape[place]
        tape[place] = None  # autograd lets go of it once the operation's backward is done
        assert tensor is not None
        return tensor

    def _rerun(self, number: int) -> None:
        """Run what the schedule says so that the tape of block `number` is there."""
        start = max(held for held in self._borders if held < number)
        kept = frozenset(self._keep(self._cached(number), 2 * start, 2 * number - 1))
        self._used[2 * start] = self._now
        x = self._borders[start]
        self._drop(kept)
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

    def _drop(self, kept: Collection[int]) -> None:
        for border in [border for border in self._borders if border and 2 * border not in kept]:
            del self._borders[border]
        for taped in [taped for taped in self._tapes if 2 * taped - 1 not in kept]:
            del self._tapes[taped]

    def _run_again(self, number: int, x: Border, *, taped: bool, last: bool) -> Border:
        self._now += self._facts[number - 1].flops
        with ExitStack() as stack:
            stack.enter_context(self._autocast.again())
            stack.enter_context(self._conditions[number].again())
            if taped:
                return self._tape_again(number, x, last=last)
            stack.enter_context(torch.no_grad())
            return self._blocks[number - 1](x)

    def _tape_again(self, number: int, x: Border, *, last: bool) -> Border:
        name, saved = self._facts[number - 1].name, self._saved[number]
        tape: list[torch.Tensor | None] = []

        def pack(tensor: torch.Tensor) -> None:
            if len(tape) < len(saved):
                _check(name, saved[len(tape)], tensor)
            tape.append(tensor.detach())
            if last and len(tape) == len(saved):
                raise _AllSaved

        x = tuple(
            tensor.detach().requires_grad_(requires)
            for tensor, requires in zip(x, self._requires_grad[number - 1], strict=True)
        )
        try:
            with torch.enable_grad(), saved_tensors_hooks(pack, _never_unpacked):
                x = self._blocks[number - 1](x)
        except _AllSaved:
            x = ()
        if len(tape) != len(saved):
            raise RuntimeError(
                f"block {name} saved {len(saved)} tensors when it was first run and {len(tape)} when it was run "
                "again: it must do the same each time"
            )
        self._tapes[number] = tape
        self._used[2 * number - 1] = self._now
        return _detached(x)


def _pack(saved: list[_Saved], tensor: torch.Tensor) -> int:
    saved.append(_Saved(tensor.shape, tensor.dtype, _version(tensor)))
    return len(saved) - 1


def _version(tensor: torch.Tensor) -> int | None:
    base = tensor if tensor._base is None else tensor._base
    return base._version if isinstance(base, torch.nn.Parameter) else None


def _check(name: str, first: _Saved, tensor: torch.Tensor) -> None:
    if (tensor.shape, tensor.dtype) != first[:2]:
        raise RuntimeError(
            f"block {name} saved {first.dtype} of shape {tuple(first.shape)} when it was first run, and {tensor.dtype} "
            f"of shape {tuple(tensor.shape)} when it was run again: it must do the same each time; a compiled block "
            "may have been compiled anew or have reached torch._dynamo.config.recompile_limit in between"
        )
    if _version(tensor) != first.version:
        raise RuntimeError(
            f"a parameter of block {name} was changed between the forward and the backward pass, so that its gradients "
            "would be wrong; update parameters once the backward pass is done"
        )


def _never_unpacked(nothing: None) -> torch.Tensor:
    raise RuntimeError("a block ran a backward pass of its own on what it computes, which a rerun cannot repeat")


def _detached(x: Border) -> Border:
    return tuple(tensor.detach() for tensor in x)


class _Conditions:
    """What a block finds when it is first run, and each rerun finds again: generators and the buffers it writes."""

    def __init__(self, facts: Facts):
        self._facts = facts
        self._generators = _generator_states() if facts.random else None
        self._buffers = [module._buffers[name].clone() for module, name in facts.buffers]

    @contextmanager
    def again(self) -> Iterator[None]:
        now = _generator_states() if self._generators is not None else None
        places = self._facts.buffers
        own = [module._buffers[name] for module, name in places]
        try:
            if self._generators is not None:
                _set_generators(self._generators)
            for (module, name), before in zip(places, self._buffers, strict=True):
                module._buffers[name] = before.clone()
            yield
        finally:
            for (module, name), buffer in zip(places, own, strict=True):
                module._buffers[name] = buffer
            if now is not None:
                _set_generators(now)


def _generator_states() -> list[torch.Tensor]:
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else ())]


def _set_generators(states: list[torch.Tensor]) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state_all(states[1:])


class _Autocast:
    """The autocast of a forward pass, entered in reruns only where it was on: compiled blocks tell the difference."""

    def __init__(self, inputs: Border):
        devices = {"cpu", *(tensor.device.type for tensor in inputs)}
        self._on = {device: torch.get_autocast_dtype(device) for device in devices if torch.is_autocast_enabled(device)}
        self._devices = devices

    def as_in_reruns(self) -> ExitStack:
        """Casts are not cached, because a rerun would take those of the first run, which autograd has seen."""
        return self._entered(self._on)

    def again(self) -> ExitStack:
        """As in the forward pass; off where it was off and the backward pass runs under one."""
        stack = self._entered(self._on)
        for device in self._devices - self._on.keys():
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        return stack

    @staticmethod
    def _entered(on: Mapping[str, torch.dtype]) -> ExitStack:
        stack = ExitStack()
        for device, dtype in on.items():
            stack.enter_context(torch.autocast(device, dtype=dtype, cache_enabled=False))
        return stack
