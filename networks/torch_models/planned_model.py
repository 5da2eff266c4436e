"""A user's model under a plan: the same module, whose training steps hold and rerun what the plan says."""

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from networks.planning.own_models import BlockPlan, BlockProfile
from networks.schedules.signature import Keep
from networks.torch_models.blocks import Blocks, blocks_of_forward
from networks.torch_models.borders import Border, BoundBlock, Place
from networks.torch_models.circumstances import refuse_other_autocast, warn_of_other_threads
from networks.torch_models.executor import Facts, execute, refuse_transforms
from networks.torch_models.fingerprints import fingerprint
from networks.torch_models.inputs import refuse_other_inputs
from networks.torch_models.state import tensors_of
from networks.torch_models.twins import original, twin


def planned(
    model: torch.nn.Module, plan: BlockPlan, blocks: Sequence[Callable[..., Any]] | None = None
) -> torch.nn.Module:
    """Return `model` under `plan`: a module of its class that shares all its state.

    It stays what the model is: `state_dict` has the same keys, and any optimiser, loss and `train()` or `eval()` serve.
    What is set on one of the two, such as an attribute, a mode or a hook, is that of both. `model` itself still runs
    without the plan.

    In training mode a call keeps what the plan keeps, and the backward pass reruns the rest. Gradients, losses, buffers
    and random numbers are those of `model`, bit for bit. In eval mode, and where gradients are off, it runs plainly.

    The first call in training mode cuts the model, as the profile did. A profile of a list of callables needs that list
    again, as `blocks`.

    Raises:
        ValueError: it is no model, it is sharded, or its blocks or its inputs are not those of the plan's profile.
    """
    if not isinstance(model, torch.nn.Module):
        raise ValueError(f"the model must be a torch.nn.Module, got {type(model).__name__}")
    model = original(model)
    _refuse_sharded(model)
    if plan.profile.cut == "callables" and blocks is None:
        raise ValueError(
            "the profile was made of a list of callables: give them again, planned(model, plan, blocks=..)"
        )
    return twin(model, _Execution(plan, blocks))


def fingerprint_of(blocks: Blocks) -> str:
    """Names a model and its cut: equal for models that run the same code on tensors of the same shapes."""
    return fingerprint(blocks.description, *blocks.names, *blocks.fingerprints)


def facts_of(
    model: torch.nn.Module, name: str, flops: int, *, random: bool, buffers: Sequence[str], reads: Sequence[Place]
) -> Facts:
    """What the executor must know of a block that writes `buffers` of `model` and may read what is at `reads`."""
    written = tuple(_places(model, buffers))
    read = (place for place in reads if not any(place.held is m._buffers and place.name == b for m, b in written))
    return Facts(name, flops, random, written, tuple(read))


def _places(model: torch.nn.Module, names: Sequence[str]) -> Iterator[tuple[torch.nn.Module, str]]:
    for name in names:
        path, _, buffer = name.rpartition(".")
        yield model.get_submodule(path), buffer


class _Execution:
    """Runs the forward of a model under a plan."""

    def __init__(self, plan: BlockPlan, blocks: Sequence[Callable[..., Any]] | None):
        self._plan = plan
        self._given = blocks
        self._cut: tuple[Blocks, tuple[Facts, ...], Keep] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_cut": None}  # a copy cuts its own model

    def __call__(self, model: torch.nn.Module, *inputs: Any) -> Any:
        if not (model.training and torch.is_grad_enabled()):
            return model.forward(*inputs)
        profile, tensors = self._plan.profile, tensors_of(inputs)
        refuse_other_inputs(inputs, profile.inputs)
        refuse_other_autocast(tensors, profile.autocast)
        if self._cut is None:
            warn_of_other_threads(tensors, profile.threads)
            found = self._found(model, inputs)
            facts = tuple(
                facts_of(model, row.name, row.forward_flops, random=row.random, buffers=row.buffers, reads=reads)
                for row, reads in zip(profile.blocks, found.reads, strict=True)
            )
            self._cut = found, facts, self._plan.keep
        return self._cut[0].forward(self._run, *inputs)

    def _run(self, blocks: Sequence[BoundBlock], border: Border) -> Border:
        assert self._cut is not None
        _, facts, keep = self._cut
        pairs = zip(facts, blocks, strict=True)
        given = [replace(each, given=block.given) if block.given else each for each, block in pairs]
        return execute(blocks, given, keep, border)

    def _found(self, model: torch.nn.Module, inputs: tuple[Any, ...]) -> Blocks:
        refuse_transforms()
        _refuse_sharded(model)
        profile = self._plan.profile
        found = blocks_of_forward(model, inputs, self._given if profile.cut == "callables" else profile.cut)
        if fingerprint_of(found) != profile.fingerprint:
            raise ValueError(
                f"the plan is for another model: its profile has {len(profile.blocks)} blocks, "
                f"{profile.blocks[0].name} to {profile.blocks[-1].name}, and this {type(model).__name__} differs "
                f"in its code, settings or shapes{_versions(profile)}; profile it"
            )
        return found


def _versions(profile: BlockProfile) -> str:
    """The versions that a profile was made with, if others run. Their code may differ for the same model."""
    if (profile.python, profile.torch) == (platform.python_version(), torch.__version__):
        return ""
    return f" (the profile was made with Python {profile.python} and torch {profile.torch}, whose code may differ)"


def _refuse_sharded(model: torch.nn.Module) -> None:
    for path, module in model.named_modules():
        if any(kind.__name__ in ("FSDPModule", "FullyShardedDataParallel") for kind in type(module).__mro__):
            raise ValueError(
                f"{path or 'the model'} is sharded by FSDP: a rerun would leave the parameters of many blocks "
                "unsharded at once, so a plan would not bound the peak; use DistributedDataParallel"
            )
