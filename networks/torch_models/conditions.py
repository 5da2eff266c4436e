"""What a block finds when it is first run, and what each rerun of it must find again."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch

from networks.torch_models.chains import Border

AccumulateGrad = torch._C._functions.AccumulateGrad


class Conditions:
    """Generators and the buffers that a block writes, as they are now: before its first run.

    A rerun changes clones of the buffers. So buffers change once a step, as they do without reruns.
    """

    __slots__ = ("_buffers", "_generators", "_places")  # there is one for each block

    def __init__(self, *, random: bool, buffers: Sequence[tuple[torch.nn.Module, str]]):
        self._generators = _generator_states() if random else None
        self._places = buffers
        self._buffers = [module._buffers[name].clone() for module, name in buffers]

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
