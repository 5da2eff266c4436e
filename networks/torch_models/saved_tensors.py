"""What a run of a block has autograd save, what a rerun must save again, and the errors where it does not."""

import sys
from collections.abc import Callable
from functools import cache
from typing import Any, NoReturn, TypeVar

import torch

_Function = TypeVar("_Function", bound=Callable[..., Any])
Form = tuple[torch.Size, torch.dtype]
"""What a rerun must find again of a tensor."""

Tape = list[tuple[torch.Tensor, int] | None]
"""The tensors of a rerun that autograd needs, each with how often it had been written. None: autograd has taken it."""


class AllSaved(BaseException):
    """The tape is complete, so nobody needs the rest of the rerun. No `except Exception` may catch it."""


def note_form(saved: list[Form], tensor: torch.Tensor) -> int:
    """Note what `tensor` is, hold it no longer, and return its place among those that the run saves."""
    saved.append((tensor.shape, tensor.dtype))
    return len(saved) - 1


def save_again(name: str, saved: list[Form], tape: Tape, last: bool, tensor: torch.Tensor) -> None:
    """Add a tensor of a rerun to its tape. Raises RuntimeError if the first run saved another form in its place.

    If `last`, AllSaved ends the rerun when the tape has as many tensors as the first run saved.
    """
    if len(tape) < len(saved):
        first, again = saved[len(tape)], (tensor.shape, tensor.dtype)
        if first != again:
            refuse_other(name, f"saved {told(first)}", told(again))
    tape.append((tensor.detach(), tensor._version))
    if last and len(tape) == len(saved):
        raise AllSaved


def refuse_other(name: str, first: str, again: str) -> NoReturn:
    """Raise RuntimeError, because a rerun of a block did something else than its first run."""
    raise RuntimeError(
        f"block {name} {first} when it was first run and {again} when it was run again: it must do the same each time; "
        "a compiled block may have been compiled anew or have reached torch._dynamo.config.recompile_limit in between"
    )


def told(*forms: Form) -> str:
    """The forms as people read them."""
    return ", ".join(f"{str(dtype).removeprefix('torch.')} {tuple(shape)}" for shape, dtype in forms) or "nothing"


def untraced(function: _Function) -> _Function:
    """Keep torch.compile out of `function`, which it would compile anew for each tensor that a compiled block saves.

    Its compiler takes seconds to import. Where nobody has imported it, nothing is compiled.
    """
    return _disabled(function) if "torch._dynamo" in sys.modules else function


@cache
def _disabled(function: Callable[..., Any]) -> Any:
    return torch.compiler.disable(function)
