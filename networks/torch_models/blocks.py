"""Cut a PyTorch model into the blocks of a chain: blocks of the user's own, or found ones."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NoReturn

import torch

from networks.torch_models.agreement import difference
from networks.torch_models.borders import Border, BoundBlock, BoundPiece, Cutting, Place, RunBlock, RunBlocks, in_order
from networks.torch_models.callables import Callables
from networks.torch_models.fingerprints import described_module, described_settings, fingerprint
from networks.torch_models.inputs import described_inputs
from networks.torch_models.member_calls import MemberCalls
from networks.torch_models.member_lists import is_sequential, lists_in, members_of, ways_to_give
from networks.torch_models.merging import Merging
from networks.torch_models.slices import Slices
from networks.torch_models.state import are_close, copied, left_as_it_was, tensors_of
from networks.torch_models.twins import original, twin
from networks.wording import in_a_line, shown

AUTOMATIC = "auto"

UNSTEADY = "the model gives another output each time it runs from the same state, so blocks that ran again would, too"


@dataclass(frozen=True, eq=False)
class Blocks:
    """A model as a chain of blocks, with what runs before and after them.

    The model stays as it is: its parameters, its `state_dict`, its `train()` and `eval()`.
    """

    model: torch.nn.Module
    cutting: Cutting
    groups: tuple[tuple[int, ...], ...]
    """The pieces of the model that each block has."""
    overwritten: tuple[int, ...]
    """Positions in the first border that the first block writes over. It works on copies of them."""
    names: tuple[str, ...]
    fingerprints: tuple[str, ...]
    notes: tuple[str, ...]
    """One line for each thing that was done to the blocks: merged, or others than those asked for."""
    description: str
    """The code, settings and shapes of the model."""
    inputs: str
    """Shapes, types and devices of what the model's forward gets, once the model's hooks have seen it."""

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def reads(self) -> tuple[tuple[Place, ...], ...]:
        """The parameters and buffers that each block may read, as far as is known."""
        return tuple(tuple(place for number in group for place in self.cutting.reads[number]) for group in self.groups)

    def __call__(self, run_blocks: RunBlocks, *inputs: Any) -> Any:
        """Run the model with `run_blocks` in place of the list of its blocks, and return the model's output.

        Hooks of the model itself run around the chain. In eval mode, and where gradients are off, the model runs
        plainly: there is nothing to keep for a backward pass.
        """
        if self.model.training and torch.is_grad_enabled():
            return self._with_hooks(run_blocks, inputs)
        return self.model(*inputs)

    def forward(self, run_blocks: RunBlocks, *inputs: Any) -> Any:
        """Run the model's forward, without the hooks of the model itself, with `run_blocks` in place of its blocks."""
        return self.cutting(lambda pieces, border: run_blocks(self._bound(pieces), border), inputs)

    def before(self, *inputs: Any) -> tuple[tuple[BoundBlock, ...], Border]:
        """Run what comes before the first block. Return the blocks of this call, and the first border."""
        blocks, border = _reached(partial(self._with_hooks, _stop), inputs)
        return blocks, border

    def _with_hooks(self, run_blocks: RunBlocks, inputs: tuple[Any, ...]) -> Any:
        return twin(self.model, lambda _, *given: self.forward(run_blocks, *given))(*inputs)

    def _bound(self, pieces: Sequence[BoundPiece]) -> tuple[BoundBlock, ...]:
        groups = [[pieces[number] for number in group] for group in self.groups]
        runs = [_joined(group) for group in groups]
        given = [tuple(tensor for piece in group for tensor in piece.given) for group in groups]
        if self.overwritten:
            runs[0] = partial(_on_copies, runs[0], self.overwritten)
        return tuple(map(BoundBlock, self.names, self.fingerprints, runs, given))


class _ReachedError(BaseException):
    """Leaves the model; no `except Exception` of the model's is to catch it."""


def _stop(*reached: Any) -> NoReturn:
    raise _ReachedError(*reached)


def _reached(run: Callable[[tuple[Any, ...]], Any], inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """What `_stop` was called with in a run."""
    try:
        run(inputs)
    except _ReachedError as left:
        return left.args
    raise AssertionError("the model did not come to where it is left")


def _joined(pieces: list[BoundPiece]) -> RunBlock:
    return pieces[0].run if len(pieces) == 1 else partial(in_order, pieces)


def _on_copies(run: RunBlock, positions: tuple[int, ...], border: Border) -> Border:
    return run(tuple(tensor.clone() if i in positions else tensor for i, tensor in enumerate(border)))


def blocks_of(model: torch.nn.Module, sample: Any, blocks: str | Sequence[Callable[..., Any]] | None = None) -> Blocks:
    """Cut `model` into blocks. The model and the generators of random numbers are left as they were.

    The model runs some times on `sample`, a tensor or a tuple of the model's arguments. It keeps nothing for a backward
    pass there, except for "auto".

    blocks
        None: the children of a `torch.nn.Sequential`, those of nested ones, too.
        A path such as "encoder.layers": the members of a ModuleList or Sequential in the model. The model's own forward
        runs what comes before and after. Arguments that are the same for every member, such as a mask, may stand
        beside the tensors that pass from one to the next.
        "auto": parts of the traced model, see `Slices`. They are used if training steps on the sample equal the plain
        model's bit for bit. If not, a note says why, and the blocks are those of the model's longest list.
        A list of callables that are the model together. Each is called with the tensors that the one before returned.

    Hooks of the model itself belong to no block. They run around the chain.

    ValueError tells in one line why the model cannot be cut so, and what to give.
    """
    model = original(model)
    _check_model(model)
    inputs = sample if isinstance(sample, tuple) else (sample,)
    return blocks_of_forward(model, _after_hooks(model, inputs), blocks)


def blocks_of_forward(
    model: torch.nn.Module, inputs: tuple[Any, ...], blocks: str | Sequence[Callable[..., Any]] | None
) -> Blocks:
    """Cut `model` as `blocks_of` does. `inputs` are what its forward gets, once the model's own hooks have seen it."""
    _check_model(model)
    with torch.no_grad():
        if isinstance(blocks, str) and blocks == AUTOMATIC:
            return _found(model, inputs)
        return _checked(model, _cutting(model, inputs, blocks), inputs)


def _after_hooks(model: torch.nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """What the model's forward gets, once the model's own hooks have seen the inputs."""
    if not model._forward_pre_hooks:
        return inputs
    with torch.enable_grad(), left_as_it_was(model):
        return copied(_reached(lambda given: twin(model, lambda _, *seen: _stop(*seen))(*given), copied(inputs)))


def _check_model(model: object) -> None:
    if not isinstance(model, torch.nn.Module):
        raise ValueError(f"the model must be a torch.nn.Module, got {shown(model)}")
    if not model.training:
        raise ValueError("the model is in eval mode, in which it keeps nothing: call model.train() first")
    for name, parameter in model.named_parameters():
        if isinstance(parameter, torch.nn.parameter.UninitializedParameter):
            raise ValueError(f"{name} has no shape yet: call the model once on a sample first")


def _cutting(model: torch.nn.Module, inputs: tuple[Any, ...], blocks: Any) -> Cutting:
    if blocks is not None and not isinstance(blocks, str):
        return Callables(_functions(blocks))
    members = members_of(model, blocks)
    with left_as_it_was(model):
        return MemberCalls(_Forward(model).forward, members, copied(inputs))


def _found(model: torch.nn.Module, inputs: tuple[Any, ...]) -> Blocks:
    """The blocks of the model's graph, or of a list in it that has more, or the whole model where it has neither."""
    graph = _of_graph(model, inputs)
    if isinstance(graph, Blocks):
        reason = f"the graph can be cut into {len(graph)} alone"
        used = _of_a_list(model, inputs, more_than=len(graph))
        if used is None:
            return graph
    else:
        reason = graph
        used = _of_a_list(model, inputs, more_than=0) or _whole(model, inputs)
    return replace(used, notes=(f"automatic blocks were not used: {reason}", *used.notes))


def _of_graph(model: torch.nn.Module, inputs: tuple[Any, ...]) -> Blocks | str:
    """The blocks, or why there are none."""
    try:
        slices = Slices(model, inputs)
        return difference(model, slices, inputs) or _merged(model, slices, inputs)
    except (ValueError, RuntimeError) as error:  # too little memory for a plain step is a RuntimeError
        return in_a_line(str(error).partition("\n")[0])


def _of_a_list(model: torch.nn.Module, inputs: tuple[Any, ...], *, more_than: int) -> Blocks | None:
    """The blocks of a Sequential's children, or of the longest list in the model whose members are a chain."""
    paths: list[str | None] = [None] if is_sequential(model) else []
    for path in (*paths, *sorted(lists_in(model), key=lambda path: -len(members_of(model, path)))):
        if len(members_of(model, path)) > more_than:
            with suppress(ValueError):
                found = _checked(model, _cutting(model, inputs, path), inputs)
                if len(found) > more_than:
                    return replace(found, notes=(f"the blocks are those of {path or 'the Sequential'}", *found.notes))
    return None


def _whole(model: torch.nn.Module, inputs: tuple[Any, ...]) -> Blocks:
    alone = _Forward(model)
    with left_as_it_was(model):
        call = MemberCalls(alone, {type(model).__name__: alone}, copied(inputs))
    found = _checked(model, call, inputs)
    return replace(found, notes=(f"the whole model is one block: give blocks as {ways_to_give(model)}", *found.notes))


class _Forward(torch.nn.Module):  # type: ignore[misc, unused-ignore]  # its type is not known where torch is missing
    """A module that runs the forward of another, and none of its hooks."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def forward(self, *inputs: Any) -> Any:
        return self.model.forward(*inputs)


def _functions(blocks: Any) -> list[Callable[..., Any]]:
    functions = list(blocks) if isinstance(blocks, Iterable) else []
    if not functions or not all(map(callable, functions)):
        raise ValueError(
            f"blocks must be None, a path such as 'encoder.layers', or a list of callables, got {shown(blocks)}"
        )
    return functions


def _checked(model: torch.nn.Module, cutting: Cutting, inputs: tuple[Any, ...]) -> Blocks:
    """The blocks, if run in order they give what the model gives."""
    found = _merged(model, cutting, inputs)
    expected = _tried(model, model.forward, inputs)
    if are_close(_tried(model, partial(found.forward, in_order), inputs), expected):
        return found
    if not are_close(_tried(model, model.forward, inputs), expected):
        return replace(found, notes=(*found.notes, UNSTEADY))
    raise ValueError(
        f"blocks {found.names[0]} to {found.names[-1]}, run in order, do not give what the model gives: "
        "it does more between them. Give blocks as a list of callables that are the model together"
    )


def _tried(model: torch.nn.Module, run: Callable[..., Any], inputs: tuple[Any, ...]) -> list[torch.Tensor]:
    with left_as_it_was(model):
        return tensors_of(run(*copied(inputs)))


def _merged(model: torch.nn.Module, cutting: Cutting, inputs: tuple[Any, ...]) -> Blocks:
    """The pieces of the model, those that belong together as one block."""
    merging = Merging(cutting.names)
    with left_as_it_was(model):
        cutting(merging, copied(inputs))
    groups = tuple(map(tuple, merging.groups))
    notes = [*merging.notes]
    if merging.overwritten:
        notes.append(f"{cutting.names[0]} writes over the tensors that the first block gets: it works on a copy")
    names = tuple(
        cutting.names[g[0]] if len(g) == 1 else f"{cutting.names[g[0]]} to {cutting.names[g[-1]]}" for g in groups
    )
    fingerprints = _fingerprints(cutting, merging)
    described = _described(model, inputs), described_inputs(inputs)
    return Blocks(model, cutting, groups, merging.overwritten, names, fingerprints, tuple(notes), *described)


def _described(model: torch.nn.Module, inputs: tuple[Any, ...]) -> str:
    before = {part: described_settings(part) for part in model.modules()}
    with left_as_it_was(model):
        model.forward(*copied(inputs))
        return described_module(model, before)


def _fingerprints(cutting: Cutting, merging: Merging) -> tuple[str, ...]:
    """Of code, parameters and borders, and of whether the block comes first: its input may need no gradient."""
    fingerprints, leads = [], True
    for group in merging.groups:
        lines = [cutting.descriptions[number] for number in group]
        first = f"first, copies {merging.overwritten}" if leads else ""
        fingerprints.append(fingerprint(*lines, merging.borders[group[0]], first))
        leads = leads and not any(cutting.trains[number] for number in group)
    return tuple(fingerprints)
