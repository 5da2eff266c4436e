"""A training step of one block alone, by the executor. A source makes its inputs, a root makes the gradients
at its outputs."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch.autograd.graph import saved_tensors_hooks

from harness.worker.models.meters import Mark, Meter, Phase
from networks.torch_models.borders import Border, RunBlock
from networks.torch_models.executor import Facts, execute
from networks.torch_models.state import copied, tensors_of
from networks.torch_models.storages import storage_bytes, storage_of, storages_of


class DeltaSource(torch.autograd.Function):
    """Makes the tensors of a border. Its backward pass takes their gradients, and makes the gradients at `below`."""

    @staticmethod
    def forward(ctx: Any, mark: Mark, like: Border, *below: torch.Tensor) -> Border:
        """Clone the tensors of `like`. Their graph goes on to the tensors of `below`."""
        ctx.mark, ctx.below = mark, described(below)
        ctx.set_materialize_grads(False)
        made = _cloned(like)
        ctx.mark_non_differentiable(*(new for new, tensor in zip(made, like, strict=True) if not tensor.requires_grad))
        return made

    @staticmethod
    def backward(ctx: Any, *deltas: torch.Tensor | None) -> Any:
        """Leave the mark "source", and make gradients of ones at `below`."""
        ctx.mark("source")
        return None, None, *_deltas(ctx.below)


class _Root(torch.autograd.Function):
    """Takes the tensors of a border, and parameters. Its backward pass makes the gradients at them."""

    @staticmethod
    def forward(ctx: Any, mark: Mark, *border: torch.Tensor) -> torch.Tensor:
        ctx.mark, ctx.border = mark, described(border)
        return torch.zeros((), device=border[0].device)

    @staticmethod
    def backward(ctx: Any, delta: torch.Tensor) -> Any:
        ctx.mark("root")
        return None, *_deltas(ctx.border)


def described(border: Border) -> list[Any]:
    """Shape, type and device of each tensor that gets a gradient, and None for any other tensor."""
    return [(tensor.shape, tensor.dtype, tensor.device) if tensor.requires_grad else None for tensor in border]


def _deltas(border: list[Any]) -> Iterator[torch.Tensor | None]:
    # Autograd does not add to a view in place, and most gradients of parameters are views.
    return (each and torch.ones(each[0], dtype=each[1], device=each[2]).view(each[0]) for each in border)


def _cloned(border: Border) -> Border:
    return tuple(tensor.clone() for tensor in border)


def fresh(border: Border) -> Border:
    """The same values as leaves of a new graph."""
    return tuple(tensor.detach().requires_grad_(tensor.requires_grad) for tensor in border)


@contextmanager
def freeing(model: torch.nn.Module, waiting: Iterable[torch.Tensor] = ()) -> Iterator[None]:
    """Free each gradient as soon as it is complete, like an optimiser that steps in the backward pass.

    Those of the parameters `waiting` are not complete yet.
    """

    def free(parameter: torch.Tensor) -> None:
        parameter.grad = None

    kept = {id(parameter) for parameter in waiting}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in kept]
    handles = [parameter.register_post_accumulate_grad_hook(free) for parameter in trained]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class OwnStep(NamedTuple):
    """Bytes of a step of blocks alone, without their inputs.

    Attributes:
        runs: the peak of each run. A block without tape has a second run, in the backward pass.
        forward_bytes: live after the forward pass.
        engine_bytes: memory of the engine before it reaches the blocks.
        backward_bytes: the peak of the backward pass after the last run.
        end_bytes: live at the end.
    """

    runs: tuple[int, ...]
    forward_bytes: int
    engine_bytes: int
    backward_bytes: int
    end_bytes: int

    @classmethod
    def of(cls, phases: list[Phase]) -> "OwnStep":
        """Make it from the phases inputs, ready, run, forward, root, (ready, run,) (source,) end."""
        base = phases[0].live_bytes
        live = {phase.name: phase.live_bytes - base for phase in phases}
        return cls(
            runs=tuple(phase.peak_bytes - base for phase in phases if phase.name == "run"),
            forward_bytes=live["forward"],
            engine_bytes=live["root"] - live["forward"],
            backward_bytes=max(phase.peak_bytes - base for phase in phases[-2:] if phase.name in ("source", "end")),
            end_bytes=live["end"],
        )


def measure_own_step(
    blocks: Sequence[RunBlock],
    facts: Sequence[Facts],
    x: Border,
    model: torch.nn.Module,
    meter: Meter,
    kept: Collection[int] = (0,),
    *,
    freed: bool = False,
    above: Sequence[torch.Tensor] = (),
    below: Sequence[torch.Tensor] = (),
) -> OwnStep:
    """Measure a step of `blocks` alone on `x`, with `kept` positions held. `freed`: gradients are freed at once.

    The parameters `above` are used above the blocks, too, so the root makes gradients of them. The gradients of the
    parameters `below` are not complete at the end, and not freed.
    """
    leaf = torch.zeros((), requires_grad=True, device=x[0].device)

    def step(mark: Mark) -> None:
        def root(border: Border) -> Border:
            return (_Root.apply(mark, *border, *above),)

        model.zero_grad(set_to_none=True)
        inputs = [DeltaSource.apply(mark, x, leaf)]
        held = fresh(inputs[0])  # the caller owns x[0]
        mark("inputs")
        chain = [*(_marked(run, mark) for run in blocks), root]
        (loss,) = execute(chain, [*facts, Facts("root")], lambda *asked: kept, inputs.pop())
        mark("forward")
        loss.backward()
        mark("end")
        del held

    with freeing(model, below) if freed else nullcontext():
        return OwnStep.of(meter.phases(step))


def _marked(run: RunBlock, mark: Mark) -> RunBlock:
    def block(border: Border) -> Border:
        mark("ready")
        try:
            return run(border)
        finally:
            mark("run")

    return block


def untaped_peak(run: RunBlock, x: Border, meter: Meter) -> int:
    """The peak of a run without tape, without the inputs."""

    def step(mark: Mark) -> None:
        mark("ready")
        with torch.no_grad():
            y = run(x)
            mark("run")
            del y

    ready, ran = meter.phases(step)
    return ran.peak_bytes - ready.live_bytes


class Tape(NamedTuple):
    """The tape of a run: bytes beside its inputs and outputs, the inputs and outputs that it holds, and graph nodes."""

    nbytes: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    nodes: int


def tape_of(run: RunBlock, x: Border, below: Sequence[int], model: torch.nn.Module) -> Tape:
    """Run a block, and look at what autograd holds of it. `below` are the storages of `x`, in order."""
    with _saving() as saved:
        y = run(fresh(x))
    places, made = storages_of(saved), [place for place in storages_of(y) if place not in below]
    known = storages_of((*model.parameters(), *model.buffers()))
    beside = places.keys() - {*below, *made} - known.keys()
    return Tape(
        nbytes=sum(places[place] for place in beside),
        inputs=tuple(number for number, place in enumerate(below) if place in places),
        outputs=tuple(number for number, place in enumerate(made) if place in places),
        nodes=_nodes(y),
    )


class Deltas(NamedTuple):
    """Storages of the gradients around the backward pass of a block. None stands for no gradient.

    Attributes:
        above: the identity of the one at each output.
        below: identity and bytes of the one at each input. It may be one of those above, or larger than the gradient,
            which is then a view of it. Where it is smaller, its bytes are those of the gradient.
    """

    above: list[int | None]
    below: list[tuple[int, int] | None]


def deltas_of(run: RunBlock, x: Border) -> Deltas:
    """Run a block and its backward pass, and look at the gradients."""
    inputs = fresh(x)
    y = run(inputs)
    above = [torch.ones_like(tensor) if tensor.requires_grad else None for tensor in y]
    trained = [tensor for tensor in inputs if tensor.requires_grad]
    found: dict[int, torch.Tensor | None] = {}
    if trained and any(tensor.requires_grad for tensor in y):
        heads = [tensor for tensor in y if tensor.requires_grad]
        given = [delta for delta in above if delta is not None]
        left = torch.autograd.grad(heads, trained, given, allow_unused=True)
        found = {id(tensor): delta for tensor, delta in zip(trained, left, strict=True)}
    deltas = [found.get(id(tensor)) for tensor in inputs]
    return Deltas(
        above=[None if delta is None else storage_of(delta) for delta in above],
        below=[
            None if delta is None else (storage_of(delta), max(delta.nbytes, storage_bytes([delta])))
            for delta in deltas
        ],
    )


def top_of(border: Border, after: Callable[[Border], tuple[Any, torch.Tensor]]) -> tuple[bool, int]:
    """Whether the code after the blocks holds one of their outputs, and bytes of the gradients that it makes at them.

    `after` takes the outputs, and returns the model's output and the loss. It holds what it returns, and what it has
    autograd hold. A gradient may be a view of a single number.
    """
    made = copied(border)
    with _saving() as saved:
        output, loss = after(made)
    holds = not storages_of([*saved, *tensors_of(output)]).keys().isdisjoint(storages_of(made))
    deltas = torch.autograd.grad(loss, [tensor for tensor in made if tensor.requires_grad], allow_unused=True)
    return holds, sum(storages_of(delta for delta in deltas if delta is not None).values())


@contextmanager
def _saving() -> Iterator[list[torch.Tensor]]:
    """The tensors that autograd holds of operations within this context."""
    saved: list[torch.Tensor] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor.detach())  # the graph holds this list, so a tensor in it must not hold the graph
        return tensor.detach()

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        yield saved


def _nodes(y: Border) -> int:
    """The number of nodes of the graph below these tensors."""
    seen = set()
    waiting = [tensor.grad_fn for tensor in y if tensor.grad_fn is not None]
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting += [below for below, _ in node.next_functions if below is not None]
    return len(seen)
