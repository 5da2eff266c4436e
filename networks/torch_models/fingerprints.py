"""Modules and tensors described by what decides their bytes and work, so that equal ones are measured once."""

import hashlib
from collections.abc import Iterable, Mapping
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch

Settings = Mapping[torch.nn.Module, Mapping[str, Any]]
"""Settings of modules at some time."""

FUNCTIONS = (FunctionType, BuiltinFunctionType, type)


def fingerprint(*descriptions: str) -> str:
    """A short name for the descriptions, the same in every process."""
    return hashlib.sha256("\n".join(descriptions).encode()).hexdigest()[:16]


def described_tensor(tensor: torch.Tensor) -> str:
    """Shape, type, device and strides of a tensor, in a line."""
    return f"{tuple(tensor.shape)} {tensor.dtype} {tensor.device.type} {tuple(tensor.stride())}"


def described_values(values: Iterable[Any]) -> str:
    """Each value in a line: tensors by shape and type, others as they are."""
    return ", ".join(map(_described_value, values))


def _described_value(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return described_tensor(value)
    return _setting(value) if _is_setting(value) else type(value).__qualname__


def described_module(module: torch.nn.Module, before: Settings) -> str:
    """Types and their code, settings, parameter and buffer shapes of a module and of all modules in it.

    If two modules differ in a setting, such as an index, they count as different. A setting that is another than
    `before` a run, such as a count of calls, is left out.
    """
    lines = []
    for path, part in module.named_modules():
        was = before.get(part, settings_of(part))
        settings = {name: _setting(value) for name, value in settings_of(part).items() if was.get(name) == value}
        lines.append(f"{path}: {_named(type(part))}({part.extra_repr()}) {settings}")
    for path, parameter in module.named_parameters():
        lines.append(f"{path}: {described_tensor(parameter)} {parameter.requires_grad}")
    for path, buffer in module.named_buffers():
        lines.append(f"{path}: {described_tensor(buffer)}")
    return "\n".join(lines)


def settings_of(module: torch.nn.Module) -> dict[str, Any]:
    """The mode of a module and the attributes of its own that are a number, a text, a function or a tuple of these."""
    return {name: value for name, value in vars(module).items() if name not in _OF_EVERY_MODULE and _is_setting(value)}


_OF_EVERY_MODULE = vars(torch.nn.Module()).keys() - {"training"} | {"_is_torch_compile", "_compiled_call_impl"}
"""A module that somebody has compiled has one of the last two, too. A module that was cut has the last, as None."""


def _is_setting(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_setting, value))
    return value is None or isinstance(value, (bool, int, float, str, *FUNCTIONS))


def _setting(value: Any) -> str:
    return _named(value) if isinstance(value, FUNCTIONS) else repr(value)


def _named(function: Any) -> str:
    """A function, or a class and its forward, by name and code.

    The module is left out, because one file is imported under one name here and under another there.
    """
    code = getattr(getattr(function, "forward", function), "__code__", None)
    if code is None:
        return str(function.__qualname__)
    constants = tuple(filter(_is_setting, code.co_consts))
    return f"{function.__qualname__} {code.co_code.hex()} {code.co_names} {constants}"
