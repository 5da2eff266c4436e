"""A twin of a module: it has the module's class and shares its state, and it runs another forward.

Both have one `__dict__`. So an attribute, a hook or a submodule that is set on one is that of both. Only the forward
and the compiled call are each one's own, so the module itself runs as before.
"""

import copy
import inspect
from collections.abc import Callable
from functools import cache
from types import MethodType
from typing import Any

import torch


class Twin:
    """What a twin's class has before the module's own. `Module.__call__` runs the hooks around `forward`, as ever."""

    _twin_of: torch.nn.Module
    _twin_run: Callable[..., Any]
    _twin_forward: Callable[..., Any] | None
    _compiled_call_impl: Callable[..., Any] | None

    @property
    def forward(self) -> Callable[..., Any]:
        """The forward that was set on the twin, or `_forward`. Some libraries wrap that of an instance."""
        return self._twin_forward or MethodType(type(self)._forward, self)

    @forward.setter
    def forward(self, forward: Callable[..., Any]) -> None:
        """Set a forward of the twin's own."""
        self._twin_forward = forward

    @forward.deleter
    def forward(self) -> None:
        """Take it back."""
        self._twin_forward = None

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs:
            bound = inspect.signature(self._twin_of.forward).bind(*args, **kwargs)
            if bound.kwargs:
                raise ValueError(f"a planned model takes its inputs by position, got {', '.join(bound.kwargs)}")
            args = bound.args
        return self._twin_run(self._twin_of, *args)

    def __copy__(self) -> torch.nn.Module:
        return twin(copy.copy(self._twin_of), copy.copy(self._twin_run))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return twin, (self._twin_of, self._twin_run), self._twin_forward

    def __setstate__(self, forward: Callable[..., Any]) -> None:
        self._twin_forward = forward


def twin(module: torch.nn.Module, run: Callable[..., Any]) -> torch.nn.Module:
    """Return a twin of `module` whose forward is `run(module, *inputs)`."""
    kind: Any = type(module)
    new: torch.nn.Module = object.__new__(_twin_class(kind))
    own = {"__dict__": vars(module), "_twin_of": module, "_twin_run": run}
    for name, value in (own | {"_twin_forward": None, "_compiled_call_impl": None}).items():
        object.__setattr__(new, name, value)  # that of Module would take `module` for a submodule
    return new


def original(module: torch.nn.Module) -> torch.nn.Module:
    """The module that `module` is a twin of, or `module` itself where it is none."""
    return module._twin_of if isinstance(module, Twin) else module


@cache
def _twin_class(kind: Any) -> Any:
    """Its slots come before the shared `__dict__`."""
    slots = ("_twin_of", "_twin_run", "_twin_forward", "_compiled_call_impl")
    return type(f"Planned{kind.__name__}", (Twin, kind), {"__module__": kind.__module__, "__slots__": slots})
