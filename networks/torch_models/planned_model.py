"""A user's model under a plan: the same module, whose training steps hold and rerun what the plan says."""

import copy
import inspect
import platform
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import torch

from networks.planning.own_models import BlockPlan, BlockProfile
from networks.torch_models.blocks import Blocks, blocks_of
from networks.torch_models.chains import Block, Border
from networks.torch_models.executor import Facts, execute
from networks.torch_models.fingerprints import described_module, fingerprint
from networks.torch_models.inputs import refuse_other_inputs


def planned(
    model: torch.nn.Module, plan: BlockPlan, blocks: Sequence[Callable[..., Any]] | None = None
) -> torch.nn.Module:
    """Return `model` under `plan`: a module of its class, with the very same parameters, buffers and submodules.

    It stays what the model is: `state_dict` has the same keys, and any optimiser, loss and `train()` or `eval()` serve.
    In training mode a call keeps what the plan keeps, and the backward pass reruns the rest. Gradients, losses, buffers
    and random numbers are those of `model`, bit for bit. In eval mode, and where gradients are off, it runs plainly.

    The first call in training mode cuts the model, as the profile did. A profile of a list of callables needs that list
    again, as `blocks`.

    Raises:
        ValueError: it is no model, it is sharded, or its blocks or its inputs are not those of the plan's profile.
    """
    if not isinstance(model, torch.nn.Module):
        raise ValueError(f"the model must be a torch.nn.Module, got {type(model).__name__}")
    if isinstance(model, _Planned):
        model = model._execution.plain
    _refuse_sharded(model)
    if plan.profile.cut == "callables" and blocks is None:
        raise ValueError(
            "the profile was made of a list of callables: give them again, planned(model, plan, blocks=..)"
        )
    new = copy.copy(model)  # its dictionaries of parameters, buffers and submodules are the model's
    kind: Any = type(model)
    new.__class__ = _planned_class(kind)
    vars(new)["_execution"] = _Execution(model, plan, blocks)
    return new


def fingerprint_of(blocks: Blocks) -> str:
    """Names a model and its cut: equal for models that run the same code on tensors of the same shapes."""
    return fingerprint(described_module(blocks.model), *blocks.names, *blocks.fingerprints)


def facts_of(model: torch.nn.Module, plan: BlockPlan) -> tuple[Facts, ...]:
    """What the executor must know of each block of `model`."""
    return tuple(
        Facts(row.name, row.forward_flops, row.random, tuple(places(model, row.buffers))) for row in plan.profile.blocks
    )


def places(model: torch.nn.Module, names: Sequence[str]) -> Iterator[tuple[torch.nn.Module, str]]:
    """The module and the name there of each buffer."""
    for name in names:
        path, _, buffer = name.rpartition(".")
        yield model.get_submodule(path), buffer


class _Execution:
    """Runs the training steps of `plain`, a model, under a plan."""

    def __init__(self, plain: torch.nn.Module, plan: BlockPlan, blocks: Sequence[Callable[..., Any]] | None):
        self.plain = plain
        self._plan = plan
        self._given = blocks
        self._found: Blocks | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_found": None, "_keep": None}  # both are found again

    def __call__(self, training: bool, inputs: tuple[Any, ...]) -> Any:
        self.plain.training = training  # the submodules are shared, this flag is not
        if not (training and torch.is_grad_enabled()):
            return self.plain(*inputs)
        refuse_other_inputs(inputs, self._plan.profile.inputs)
        if self._found is None:
            self._found = self._cut(inputs)
            self._facts = facts_of(self.plain, self._plan)
            self._keep = self._plan.keep
        return self._found(self._run, *inputs)

    def _cut(self, inputs: tuple[Any, ...]) -> Blocks:
        _refuse_sharded(self.plain)
        profile = self._plan.profile
        found = blocks_of(self.plain, inputs, self._given if profile.cut == "callables" else profile.cut)
        if fingerprint_of(found) != profile.fingerprint:
            raise ValueError(
                f"the plan is for another model: its profile has {len(profile.blocks)} blocks, "
                f"{profile.blocks[0].name} to {profile.blocks[-1].name}, and this {type(self.plain).__name__} differs "
                f"in its code, settings or shapes{_versions(profile)}; profile it"
            )
        return found

    def _run(self, blocks: Sequence[Block], border: Border) -> Border:
        return execute(blocks, self._facts, self._keep, border)


def _versions(profile: BlockProfile) -> str:
    """The versions that a profile was made with, if others run. Their code may differ for the same model."""
    if (profile.python, profile.torch) == (platform.python_version(), torch.__version__):
        return ""
    return f" (the profile was made with Python {profile.python} and torch {profile.torch}, whose code may differ)"


class _Planned:
    """What a planned model's class has before its model's own."""

    training: bool
    _execution: _Execution

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs:
            bound = inspect.signature(self._execution.plain.forward).bind(*args, **kwargs)
            if bound.kwargs:
                raise ValueError(f"a planned model takes its inputs by position, got {', '.join(bound.kwargs)}")
            args = bound.args
        return self._execution(self.training, args)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _blank, (type(self).__bases__[1],), vars(self)


@cache
def _planned_class(kind: Any) -> Any:
    return type(f"Planned{kind.__name__}", (_Planned, kind), {"__module__": kind.__module__})


def _blank(kind: Any) -> Any:
    made = _planned_class(kind)
    return made.__new__(made)


def _refuse_sharded(model: torch.nn.Module) -> None:
    for path, module in model.named_modules():
        if any(kind.__name__ in ("FSDPModule", "FullyShardedDataParallel") for kind in type(module).__mro__):
            raise ValueError(
                f"{path or 'the model'} is sharded by FSDP: a rerun would leave the parameters of many blocks "
                "unsharded at once, so a plan would not bound the peak; use DistributedDataParallel"
            )
