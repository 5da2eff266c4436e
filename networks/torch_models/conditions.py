"""What a block finds when it is first run, and what each rerun of it must find again."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch

from networks.torch_models.borders import Border, Place

AccumulateGrad = torch._C._functions.AccumulateGrad  # type: ignore[attr-defined, unused-ignore]  # torch declares no such name


class Conditions:
    """Generators and the buffers that a block writes, as they are now: before its first run.

    A rerun changes clones of the buffers. So buffers change once a step, as they do without reruns.
    """

    __slots__ = ("_buffers", "_generators", "_places")  # there is one for each block

    def __init__(self, *, random: bool, buffers: Sequence[tuple[torch.nn.Module, str]]):
        self._generators = _generator_states() if random else None
        self._places = buffers
        self._buffers = [module.get_buffer(name).clone() for module, name in buffers]

    @contextmanager
    def again(self) -> Iterator[None]:
        """Put them back for a rerun. Afterwards they are again what they were."""
        now = _generator_states() if self._generators is not None else None
        own = [module._buffers[name] for module, name in self._places]
        try:
            if self._generators is not None:
                _set_generators(self._generators)
            for (module, name), before in zip(self._places, self._buffers, strict=True):
                module._buffers[name] = before.clone()
            yield
        finally:
            for (module, name), buffer in zip(self._places, own, strict=True):
                module._buffers[name] = buffer
            if now is not None:
                _set_generators(now)


def _generator_states() -> list[torch.Tensor]:
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else ())]


def _set_generators(states: list[torch.Tensor]) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state_all(states[1:])


class Reads:
    """The parameters, buffers and given tensors that a block reads, as they are now: before its first run.

    A rerun reads the same tensors, also where a module has others since, as after `torch.func.functional_call`.
    """

    __slots__ = ("_places", "_tensors", "_versions")

    def __init__(self, places: Sequence[Place], given: Sequence[torch.Tensor]):
        self._places = places
        self._tensors = [*(held.get(name) for _, held, name in places), *given]
        self._versions = [_version(tensor) for tensor in self._tensors]

    def leave_out_written(self) -> None:
        """After the first run: what the block wrote itself need not stay as it was."""
        for number, (tensor, version) in enumerate(zip(self._tensors, self._versions, strict=True)):
            if _version(tensor) != version or self._at(number) is not tensor:
                self._tensors[number] = None

    def _at(self, number: int) -> torch.Tensor | None:
        if number >= len(self._places):
            return self._tensors[number]
        _, held, name = self._places[number]
        return held.get(name)

    def changed(self) -> str:
        """What has been written since, or is gone from its module; empty where there is nothing."""
        for number, (tensor, version) in enumerate(zip(self._tensors, self._versions, strict=True)):
            if tensor is not None and (_version(tensor) != version or self._at(number) is None):
                given = number >= len(self._places)
                return f"a given tensor {tuple(tensor.shape)}" if given else self._places[number].path
        return ""

    @contextmanager
    def again(self) -> Iterator[None]:
        """Put the tensors into their places for a rerun. Afterwards these have again what they had."""
        replaced = [
            (held, name, now, tensor)
            for (_, held, name), tensor in zip(self._places, self._tensors, strict=False)
            if tensor is not None and (now := held[name]) is not tensor
        ]
        try:
            for held, name, _, tensor in replaced:
                held[name] = tensor
            yield
        finally:
            for held, name, now, _ in replaced:
                held[name] = now


def _version(tensor: torch.Tensor | None) -> int:
    return 0 if tensor is None or tensor.is_inference() else tensor._version


class Versions:
    """Tensors, and how often each had been written when this was made."""

    __slots__ = ("_versions", "tensors")

    def __init__(self, tensors: Sequence[torch.Tensor]):
        self.tensors = tuple(tensors)
        self._versions = [tensor._version for tensor in tensors]

    @property
    def are_those_of_now(self) -> bool:
        """Whether none of the tensors has been written since."""
        return all(tensor._version == version for tensor, version in zip(self.tensors, self._versions, strict=True))


def parameters_of(outputs: Border, *, since: int) -> list[torch.Tensor]:
    """The leaves from which `outputs` were computed by operations recorded from number `since` on, each once.

    They are found in autograd's graph, so those that need no gradient are not among them.
    """
    waiting = [tensor.grad_fn for tensor in outputs]
    seen, leaves = set(waiting), []
    while waiting:
        node = waiting.pop()
        if isinstance(node, AccumulateGrad):
            leaves.append(node.variable)
        elif node is not None and node._sequence_nr() >= since:
            before = {edge[0] for edge in node.next_functions} - seen
            seen |= before
            waiting += before
    return leaves


class Autocast:
    """The autocast of a forward pass, entered in reruns only where it was on: compiled blocks tell the difference."""

    def __init__(self, inputs: Border):
        devices = set(filter(torch.amp.is_autocast_available, {"cpu", *(tensor.device.type for tensor in inputs)}))
        self._on = {device: torch.get_autocast_dtype(device) for device in devices if torch.is_autocast_enabled(device)}
        self._off = devices - self._on.keys()

    @property
    def described(self) -> str | None:
        """Devices and types in a line; None where it is off."""
        return ", ".join(f"{device} {dtype}" for device, dtype in sorted(self._on.items())) or None

    def as_in_reruns(self) -> ExitStack:
        """Casts are not cached, because a rerun would take those of the first run, which autograd has seen."""
        return self._entered(self._on)

    def again(self) -> ExitStack:
        """As in the forward pass; off where it was off and the backward pass runs under one."""
        stack = self._entered(self._on)
        for device in self._off:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        return stack

    @staticmethod
    def _entered(on: Mapping[str, torch.dtype]) -> ExitStack:
        stack = ExitStack()
        for device, dtype in on.items():
            stack.enter_context(torch.autocast(device, dtype=dtype, cache_enabled=False))
        return stack
