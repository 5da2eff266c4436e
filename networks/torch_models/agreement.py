"""Whether a model's blocks do what the model does, bit for bit, over some steps of training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from networks.torch_models.borders import Cutting, in_order
from networks.torch_models.state import Generators, ModelState, are_close, copied, left_as_it_was, same_bits, tensors_of

SEEDS = (0, 1)
"""A step is done with each. The second shows what the first has changed, such as a parameter that a graph copied."""

STEP_SIZE = 0.01

Run = Callable[[tuple[Any, ...]], Any]


@dataclass(frozen=True)
class StepResult:
    """What a step leaves, by name."""

    tensors: dict[str, torch.Tensor]
    generators: Generators


def difference(model: torch.nn.Module, cutting: Cutting, inputs: tuple[Any, ...]) -> str:
    """What a training step of the blocks, or one of the model, does otherwise; empty where nothing was found.

    The steps compare outputs, gradients, buffers and the generators of random numbers. Parameters are updated between
    them. Where the model itself does not repeat a value to the bit, close is enough. A model that draws from Python's
    or NumPy's generators or that changes an attribute is told, too, because its graph may agree by luck. All is left
    as it was.
    """
    with left_as_it_was(model, parameters=True), torch.enable_grad():
        with torch.no_grad():
            model.forward(*copied(inputs))  # so that what the model makes once, such as a table, is made
        for seed in SEEDS:
            torch.manual_seed(seed)
            found = _compared_step(model, partial(cutting, in_order), inputs)
            if found:
                return found
    return ""


def _compared_step(model: torch.nn.Module, blocks: Run, inputs: tuple[Any, ...]) -> str:
    generators, state = Generators.now(), ModelState(model, parameters=False)

    def plain_step() -> StepResult:
        return _step(model, lambda given: model.forward(*given), inputs)

    def go_back() -> None:
        state.restore()
        generators.restore()

    plain = plain_step()
    if plain.generators.of_others != generators.of_others:
        return "the model draws random numbers from Python or NumPy"
    changed = state.changed_attribute()
    if changed:
        return f"the model changes its attribute {changed}"
    go_back()
    seen = _step(model, blocks, inputs)
    if seen.tensors.keys() != plain.tensors.keys():
        return "the graph does not train the same parameters"
    others = [name for name, tensor in plain.tensors.items() if not same_bits(tensor, seen.tensors[name])]
    if others:
        go_back()
        again = plain_step().tensors
        for name in others:  # operations such as sums by atomic adds do not repeat themselves to the bit
            one, other = plain.tensors[name], seen.tensors[name]
            if same_bits(one, again[name]) or not are_close([one], [other]):
                return f"the graph gives another {name} than the model"
    if not all(map(same_bits, plain.generators.of_torch, seen.generators.of_torch)):
        return "the graph draws other random numbers than the model"
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            gradient = plain.tensors.get(_gradient_of(name))
            if gradient is not None:
                parameter.sub_(gradient, alpha=STEP_SIZE)
    return ""


def _step(model: torch.nn.Module, run: Run, inputs: tuple[Any, ...]) -> StepResult:
    """Forward and backward pass, from gradients that are drawn for each output alike.

    Gradients are not accumulated, because hooks for accumulated ones may step an optimiser or average over processes.
    """
    outputs = tensors_of(run(copied(inputs)))
    trained = [output for output in outputs if output.requires_grad]
    draw = torch.Generator().manual_seed(len(outputs))
    deltas = [_drawn_like(output, draw) for output in trained]
    parameters = {_gradient_of(name): p for name, p in model.named_parameters() if p.requires_grad}
    gradients: Sequence[torch.Tensor | None] = ()
    if trained and parameters:
        gradients = torch.autograd.grad(trained, list(parameters.values()), deltas, allow_unused=True)
    tensors = {f"output {number}": output.detach() for number, output in enumerate(outputs)}
    tensors |= {name: gradient for name, gradient in zip(parameters, gradients, strict=False) if gradient is not None}
    tensors |= {f"buffer {name}": buffer.clone() for name, buffer in model.named_buffers()}
    return StepResult(tensors, Generators.now())


def _gradient_of(name: str) -> str:
    return f"gradient of {name}"


def _drawn_like(output: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    if output.is_meta:
        return torch.empty_like(output)
    return torch.randn(output.shape, generator=draw, device=draw.device).to(output)
