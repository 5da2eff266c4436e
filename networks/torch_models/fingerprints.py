"""Modules and tensors described by what decides their bytes and work, so that equal ones are measured once."""

import dis
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import Any

import torch

Settings = Mapping[torch.nn.Module, Mapping[str, str]]
"""Settings of modules at some time, as text."""

FUNCTIONS = (FunctionType, BuiltinFunctionType, type)

FOLLOWED = 3
"""So many calls deep, functions that a function calls by name are described with it."""


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
    return _text(value) or type(value).__qualname__


def described_module(module: torch.nn.Module, before: Settings) -> str:
    """Types and their code, settings, parameter and buffer shapes of a module and of all modules in it.

    If two modules differ in a setting, such as an index, they count as different. A setting that is another than
    `before` a run, such as a count of calls, is left out.
    """
    lines = []
    for path, part in module.named_modules():
        now = described_settings(part)
        was = before.get(part, now)
        settings = {name: text for name, text in now.items() if was.get(name) == text}
        lines.append(f"{path}: {_text(type(part))}({part.extra_repr()}) {settings}")
    for path, parameter in module.named_parameters():
        lines.append(f"{path}: {described_tensor(parameter)} {parameter.requires_grad}")
    for path, buffer in module.named_buffers():
        lines.append(f"{path}: {described_tensor(buffer)}")
    return "\n".join(lines)


def described_settings(module: torch.nn.Module) -> dict[str, str]:
    """The mode of a module and its own attributes that are a number, a text, a function or a container, as text."""
    own = {name: value for name, value in vars(module).items() if name not in _OF_EVERY_MODULE}
    return {name: text for name, value in own.items() if (text := _text(value))}


def settings_of(module: torch.nn.Module) -> dict[str, Any]:
    """The mode of a module and the attributes of its own that are a number, a text, a function or a tuple of these."""
    return {name: value for name, value in vars(module).items() if name not in _OF_EVERY_MODULE and _is_setting(value)}


_OF_EVERY_MODULE = vars(torch.nn.Module()).keys() - {"training"} | {"_is_torch_compile", "_compiled_call_impl"}
"""A module that somebody has compiled has one of the last two, too. A module that was cut has the last, as None."""


def _is_setting(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_setting, value))
    return value is None or isinstance(value, (bool, int, float, str, *FUNCTIONS))


def _text(value: Any, followed: int = FOLLOWED) -> str:
    """A setting as text. Empty for a value that is none, and for a container that holds one."""
    match value:
        case None | bool() | int() | float() | str():
            return repr(value)
        case type():
            return _class_text(value, tuple(_functions_of(value)))
        case FunctionType():
            return _function_text(value, followed)
        case MethodType():
            return _text(value.__func__, followed)
        case BuiltinFunctionType():
            return value.__qualname__
        case partial():
            return _all_texts("partial", [value.func, value.args, value.keywords], followed)
        case tuple() | list():
            return _all_texts(type(value).__name__, value, followed)
        case dict():
            return _all_texts("dict", [*value.keys(), *value.values()], followed)
    return ""


def _all_texts(name: str, values: Iterable[Any], followed: int) -> str:
    texts = [_text(value, followed - 1) for value in values] if followed else [""]
    return f"{name}({', '.join(texts)})" if all(texts) else ""


def _functions_of(kind: type) -> Iterator[tuple[str, FunctionType]]:
    """The methods of a class and of its bases, with their names. PyTorch's are left out, because its version counts."""
    for base in kind.__mro__:
        if base is not object and not _is_of_torch(base):
            for name, member in vars(base).items():
                function = getattr(member, "fget", getattr(member, "__func__", member))
                if isinstance(function, FunctionType):
                    yield name, function


@lru_cache(maxsize=1024)
def _class_text(kind: type, functions: tuple[tuple[str, FunctionType], ...]) -> str:
    """A class by the names of its bases and its functions.

    The module is left out, because one file is imported under one name here and under another there.
    """
    methods = (f"{name}: {_function_text(function, FOLLOWED)}" for name, function in functions)
    return f"{[base.__qualname__ for base in kind.__mro__]} {fingerprint(*methods)}"


@lru_cache(maxsize=4096)
def _function_text(function: FunctionType, followed: int) -> str:
    """A function by its name, its code, its defaults and closure, and the functions that it calls by name."""
    held: list[Any] = []
    if followed and not _is_of_torch(function):
        named = (function.__globals__.get(name) for name in _globals_in(function.__code__))
        held += (other for other in named if isinstance(other, FunctionType))
        held += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values(), *_closure_of(function)]
    # A class in a closure is most often that of the method itself. A list may be another at each call.
    fixed = (each for each in held if not isinstance(each, (list, dict)))
    texts = (each.__qualname__ if isinstance(each, type) else _text(each, followed - 1) for each in fixed)
    return f"{function.__qualname__} {fingerprint(_code_text(function.__code__), *texts)}"


def _is_of_torch(named: FunctionType | type) -> bool:
    return (named.__module__ or "").partition(".")[0] == "torch"


def _globals_in(code: CodeType) -> Iterator[str]:
    """The names of a module that code reads, that of functions within it, too."""
    yield from (str(each.argval) for each in dis.get_instructions(code) if each.opname == "LOAD_GLOBAL")
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals_in(constant)


def _closure_of(function: FunctionType) -> Iterator[Any]:
    """What a function closes over, but no variable that it writes, such as a count of its calls."""
    written = {each.argval for each in dis.get_instructions(function.__code__) if each.opname == "STORE_DEREF"}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # it is empty
            if name not in written:
                yield cell.cell_contents


def _code_text(code: CodeType) -> str:
    """Bytecode and constants, those of functions within it, too."""
    return f"{code.co_code.hex()} {code.co_names} {list(map(_constant_text, code.co_consts))}"


def _constant_text(constant: Any) -> str:
    if isinstance(constant, CodeType):
        return _code_text(constant)
    # The order of a set is another in each process.
    return str(sorted(map(repr, constant))) if isinstance(constant, frozenset) else repr(constant)
