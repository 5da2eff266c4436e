"""A model's inputs in a line, what to do where they are not those of a plan, and the device of all."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from networks.torch_models.fingerprints import described_values
from networks.torch_models.state import tensors_of

_TENSOR = re.compile(r"\((\d*)([\d, ]*)\) (torch\.\w+) (\S+) (\([\d, ]*\))( requires_grad)?")
"""A tensor in the line: its first size, its other sizes, type, device, strides, and whether it needs a gradient."""

_WAYS_OUT = {
    0: "leave an incomplete batch out (drop_last=True)",
    2: "convert them to the plan's type",
    3: "move them to the plan's device",
    4: "copy them into the plan's strides, as x.contiguous() does where those are contiguous",
    5: "give them the plan's requires_grad",
}
"""What else helps where tensors differ in this alone."""


def described_inputs(inputs: Sequence[Any]) -> str:
    """Shapes, types, kinds of device and strides of a model's inputs, and which need a gradient, in a line."""
    return ", ".join(map(_described, inputs))


def refuse_other_inputs(inputs: Sequence[Any], expected: str) -> None:
    """Raise ValueError unless the inputs are described as `expected`. It tells what to do, by what differs."""
    found = described_inputs(inputs)
    if found == expected:
        return
    one, other = _TENSOR.findall(expected), _TENSOR.findall(found)
    pairs = [zip(*pair, strict=True) for pair in zip(one, other, strict=False)]
    different = {place for pair in pairs for place, (mine, theirs) in enumerate(pair) if mine != theirs}
    alike = len(one) == len(other) and len(different) == 1
    way_out = _WAYS_OUT.get(different.pop()) if alike else None
    raise ValueError(
        f"the plan is for inputs of {expected}, got {found}: profile the model with such inputs"
        f"{f', or {way_out}' if way_out else ''}"
    )


def tensors_by_name(model: torch.nn.Module, inputs: Sequence[Any]) -> Iterator[tuple[str, torch.Tensor]]:
    """The parameters, the buffers and the inputs of a model."""
    yield from model.named_parameters()
    yield from model.named_buffers()
    yield from (("the sample", tensor) for tensor in tensors_of(inputs))


def device_of(model: torch.nn.Module, inputs: Sequence[Any]) -> str:
    """The device that a model and its inputs are on. Raises ValueError if they are on several."""
    first: dict[str, str] = {}
    for name, tensor in tensors_by_name(model, inputs):
        first.setdefault(str(tensor.device), name)
    if len(first) > 1:
        (one, its), (other, others) = list(first.items())[:2]
        raise ValueError(f"{its} is on {one}, and {others} is on {other}: move both to one device")
    return next(iter(first), "cpu")


def _described(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        gradient = " requires_grad" if value.requires_grad else ""
        return f"{tuple(value.shape)} {value.dtype} {value.device.type} {tuple(value.stride())}{gradient}"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key!r}: {_described(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{described_inputs(value)}]"
    return f"({described_inputs(value)})" if isinstance(value, tuple) else described_values([value])
