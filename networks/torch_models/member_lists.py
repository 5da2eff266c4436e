"""The lists of modules in a model, whose members are its blocks."""

import torch

from networks.torch_models.state import has_hooks
from networks.wording import did_you_mean, shown


def members_of(model: torch.nn.Module, path: str | None) -> dict[str, torch.nn.Module]:
    """The modules whose calls are the blocks, by path."""
    if path is None:
        if not is_sequential(model):
            raise ValueError(f"a {type(model).__name__} is no Sequential: give blocks as {ways_to_give(model)}")
        return _some(opened(model), f"a {type(model).__name__}")
    listed = lists_in(model)
    if path not in listed:
        near = did_you_mean(path, listed)
        raise ValueError(f"{shown(path)} is no ModuleList or Sequential of the model{near}: give {ways_to_give(model)}")
    return _some(opened(listed[path], f"{path}."), shown(path))


def _some(members: dict[str, torch.nn.Module], what: str) -> dict[str, torch.nn.Module]:
    if not members:
        raise ValueError(f"{what} has no modules, so it has no blocks")
    return members


def is_sequential(module: torch.nn.Module) -> bool:
    """Whether the module does nothing but call its children in order."""
    return type(module).forward is torch.nn.Sequential.forward


def lists_in(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """The lists of modules in a model, by path."""
    return {
        path: module
        for path, module in model.named_modules(remove_duplicate=False)
        if path and len(module._modules) and (isinstance(module, torch.nn.ModuleList) or is_sequential(module))
    }


def opened(container: torch.nn.Module, prefix: str = "") -> dict[str, torch.nn.Module]:
    """The members of a list, by path. A Sequential among them is opened, unless hooks watch it or it is compiled."""
    members: dict[str, torch.nn.Module] = {}
    for name, member in container._modules.items():
        if member is None:
            continue
        if is_sequential(member) and not has_hooks(member) and member._compiled_call_impl is None:
            members |= opened(member, f"{prefix}{name}.")
        else:
            members[f"{prefix}{name}"] = member
    return members


def ways_to_give(model: torch.nn.Module) -> str:
    """How the blocks of this model may be given, for a message."""
    paths = ", ".join(f"{path!r} ({len(module._modules)})" for path, module in list(lists_in(model).items())[:5])
    return f"a path, here {paths}, or a list of callables" if paths else "a list of callables"
