"""Measures a user's own PyTorch model in a worker: its profile, and the memory and time of its step."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import torch
from torch._functorch import config as functorch_config
from torch._inductor import config as inductor_config
from torch.utils.checkpoint import checkpoint

from harness.experiment.job import Job, Row
from harness.experiment.model_cell import file_and_function
from harness.worker import probes
from harness.worker.models.meta import profile_on_meta
from harness.worker.models.meters import Meter, meter_of
from harness.worker.models.own_step import freeing
from harness.worker.models.profile import profile_model
from harness.worker.models.user_model import Model, dtype_named, model_of
from harness.worker.steps.base import WARM_UP_STEPS
from harness.worker.time import LEAST_REPEATS, interleaved
from networks.planning.own_models import BlockPlan
from networks.torch_models.blocks import Blocks, blocks_of
from networks.torch_models.borders import Border, BoundBlock, in_order
from networks.torch_models.planned_model import planned
from networks.wording import shown

TrainingStep = Callable[[], torch.Tensor]
"""A training step of a model. It returns the loss."""


GPU_NOTE = (
    "not measured here: no predicted peak of a GPU was compared with a measured one, so compare the first step's with "
    "torch.cuda.max_memory_allocated()"
)


def profile(job: Job) -> list[list[Row]]:
    """The profile of a model, as plain data."""
    model = model_of(job.settings)
    if model.device == "meta":
        place = file_and_function(job.settings["model"])[0] if "model" in job.settings else "the model"
        return [[profile_on_meta(model, place)]]
    with _autocast(job.settings.get("autocast", {})):
        row = profile_model(model.module, model.sample, model.loss, model.blocks, meter_of(model.device))
    notes = [GPU_NOTE] if model.device.startswith("cuda") else []
    return [[{**row, "notes": [*row["notes"], *notes]}]]


def _autocast(types: Mapping[str, str]) -> ExitStack:
    """The autocast of each of these devices."""
    stack = ExitStack()
    for device, dtype in types.items():
        stack.enter_context(torch.autocast(device, dtype=dtype_named(dtype)))
    return stack


def peak(job: Job) -> list[list[Row]]:
    """The peak of one training step after two warm-up steps in a fresh process, and the loss of the first step."""
    model = model_of(job.settings)
    step = step_of(model, job.settings["variants"][0])
    with gradients_of(model, job.settings["gradients"]):
        loss = float(step().detach())
        peaks = peaks_of(step, model, meter_of(model.device))
    return [[{**peaks, "loss": loss}]]


def peaks_of(step: TrainingStep, model: Model, meter: Meter) -> dict[str, int]:
    """The peaks of a step by the meter, after `WARM_UP_STEPS` other steps."""
    for _ in range(WARM_UP_STEPS):
        step()
    model.module.zero_grad(set_to_none=True)
    return meter.peaks(_forgetting(step))


def seconds(job: Job) -> list[list[Row]]:
    """Seconds of a step of each variant, see `times_of`."""
    probes.pin_to_one_cpu()
    model = model_of(job.settings)
    steps = [step_of(model, variant) for variant in job.settings["variants"]]
    with gradients_of(model, job.settings["gradients"]):
        times = times_of(steps, job.settings)
    return [[{"variant": variant, **row} for variant, rows in enumerate(times) for row in rows]]


def times_of(steps: Sequence[TrainingStep], settings: Mapping[str, Any]) -> list[list[Row]]:
    """Rows of seconds for each step, in turns whose order is shuffled anew in each round, after a warm-up.

    There are `repeats` rounds. They end earlier, but not before `LEAST_REPEATS`, when the steps have taken `seconds`.
    """
    for step in steps:
        for _ in range(WARM_UP_STEPS):
            step()
    rows: list[list[Row]] = [[] for _ in steps]
    left = settings["seconds"]
    for repeat, position, number in interleaved(len(steps), settings["repeats"], settings["order_seed"]):
        if position == repeat * len(steps) and repeat >= LEAST_REPEATS and left <= 0:
            break
        with probes.quiet_heap():
            lap = probes.stopwatch()
            steps[number]().item()  # a GPU is done only when its result is read
            seconds = lap()
        left -= seconds
        rows[number].append({"repeat": repeat, "position": position, "step_seconds": seconds})
    return rows


def _forgetting(step: TrainingStep) -> Callable[[], None]:
    def forgetting() -> None:
        step()

    return forgetting


def gradients_of(model: Model, gradients: str) -> AbstractContextManager[None]:
    """A context in which gradients are `kept`, or `freed` as soon as they are complete."""
    return freeing(model.module) if gradients == "freed" else nullcontext()


def step_of(model: Model, variant: Any) -> TrainingStep:
    """A training step: "plain", {"torch_checkpoint": n}, {"torch_compile": budget}, or {"plan": a plan as JSON}."""
    match variant:
        case "plain":
            run: Callable[..., Any] = model.module
        case {"torch_checkpoint": int(every)}:
            run = _checkpointed(blocks_of(model.module, model.sample, model.blocks), every)
        case {"torch_compile": float(share)}:
            run = _compiled(model.module, share)
        case {"plan": str(text)}:
            run = planned(
                model.module, BlockPlan.from_json(text), None if isinstance(model.blocks, str) else model.blocks
            )
        case _:
            raise ValueError(f"a variant must be plain, torch_checkpoint, torch_compile or plan, got {shown(variant)}")

    def step() -> torch.Tensor:
        model.module.zero_grad(set_to_none=True)
        output = run(*model.sample)  # held to the end of the step, as in the profile
        loss = model.loss(output)
        loss.backward()
        return loss

    return step


def _compiled(module: torch.nn.Module, share: float) -> Callable[..., Any]:
    """The model by `torch.compile`. It may keep this share of the activations for the backward pass."""
    from torch._inductor.compile_fx import compile_fx  # seconds, which only the compiler needs

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
        settings = {"cpp.threads": 1, "compile_threads": 1}
        with functorch_config.patch(activation_memory_budget=share), inductor_config.patch(settings):
            return compile_fx(graph, inputs)

    return torch.compile(module, backend=backend)


def _checkpointed(blocks: Blocks, every: int) -> Callable[..., Any]:
    """The model with `torch.utils.checkpoint` around every few blocks."""

    def run_blocks(found: Sequence[BoundBlock], border: Border) -> Border:
        for start in range(0, len(found), every):
            segment = found[start : start + every]
            border = checkpoint(_in_order(segment), *border, use_reentrant=False)
        return border

    return lambda *inputs: blocks(run_blocks, *inputs)


def _in_order(segment: Sequence[BoundBlock]) -> Callable[..., Border]:
    return lambda *border: in_order(segment, border)
