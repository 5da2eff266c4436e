"""The user's own PyTorch model in a worker: its profile, and its step under memray and under the clock.

The model's file is the user's code, and is run here, in a process of its own.
"""

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
import torch
from torch._functorch import config as functorch_config
from torch._inductor import config as inductor_config
from torch.utils.checkpoint import checkpoint

from harness.experiment.job import Job, Row
from harness.worker import probes
from harness.worker.models.meters import Meter, meter_of
from harness.worker.models.own_step import freeing
from harness.worker.models.profile import profile_model
from harness.worker.time import interleaved
from networks.planning.own_models import BlockPlan
from networks.schedules.foreign import told
from networks.torch_models.blocks import Blocks, blocks_of
from networks.torch_models.chains import Block, Border, in_order
from networks.torch_models.planned_model import planned
from networks.wording import did_you_mean, shown

Step = Callable[[], torch.Tensor]
"""A training step of a model; gives the loss."""

WARM_UP_STEPS = 2
MODEL_SEED = 0


class Model(NamedTuple):
    """What a user's `make()` returns."""

    module: torch.nn.Module
    sample: tuple[Any, ...]
    loss: Callable[[Any], torch.Tensor]
    blocks: Any
    """How it is cut, as `blocks_of` takes it."""


def profile(job: Job) -> list[list[Row]]:
    """The profile of a model, as plain data."""
    model = _made(job.settings)
    meter = meter_of(job.settings["device"])
    return [[profile_model(model.module, model.sample, model.loss, model.blocks, meter)]]


def peak(job: Job) -> list[list[Row]]:
    """The peak of one training step, in a fresh process after two warm ones; and the loss of the first."""
    model = _made(job.settings)
    step = step_of(model, job.settings["variants"][0])
    with gradients_of(model, job.settings["gradients"]):
        loss = float(step().detach())
        peaks = peaks_of(step, model, meter_of(job.settings["device"]))
    return [[{**peaks, "loss": loss}]]


def peaks_of(step: Step, model: Model, meter: Meter) -> dict[str, int]:
    """The peaks of a step after `WARM_UP_STEPS` others, as the meter tells them."""
    for _ in range(WARM_UP_STEPS):
        step()
    model.module.zero_grad(set_to_none=True)
    return meter.peaks(_forgetting(step))


def seconds(job: Job) -> list[list[Row]]:
    """Seconds of a step of each variant, in turns whose order is shuffled anew in each round."""
    probes.pin_to_one_cpu()
    model = _made(job.settings)
    steps = [step_of(model, variant) for variant in job.settings["variants"]]
    rows: list[Row] = []
    with gradients_of(model, job.settings["gradients"]):
        for step in steps:
            for _ in range(WARM_UP_STEPS):
                step()
        for repeat, _, variant in interleaved(len(steps), job.settings["repeats"], job.settings["order_seed"]):
            with probes.quiet_heap():
                lap = probes.stopwatch()
                steps[variant]().item()  # a GPU is done only when its result is read
                rows.append({"variant": variant, "repeat": repeat, "step_seconds": lap()})
    return [rows]


def _forgetting(step: Step) -> Callable[[], None]:
    def forgetting() -> None:
        step()

    return forgetting


def gradients_of(model: Model, gradients: str) -> AbstractContextManager[None]:
    """In which gradients are `kept`, or `freed` as they come."""
    return freeing(model.module) if gradients == "freed" else nullcontext()


def step_of(model: Model, variant: Any) -> Step:
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
        loss = model.loss(run(*model.sample))
        loss.backward()
        return loss

    return step


def _compiled(module: torch.nn.Module, share: float) -> Callable[..., Any]:
    """The model by `torch.compile`, which may keep this share of the activations for the backward pass."""
    from torch._inductor.compile_fx import compile_fx  # seconds, which only the compiler needs

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        settings = {"cpp.threads": 1, "compile_threads": 1}
        with functorch_config.patch(activation_memory_budget=share), inductor_config.patch(settings):
            return compile_fx(graph, inputs)

    return torch.compile(module, backend=backend)


def _checkpointed(blocks: Blocks, every: int) -> Callable[..., Any]:
    """The model with `torch.utils.checkpoint` around every few blocks."""

    def chain(found: Sequence[Block], border: Border) -> Border:
        for start in range(0, len(found), every):
            segment = found[start : start + every]
            border = checkpoint(_in_order(segment), *border, use_reentrant=False)
        return border

    return lambda *inputs: blocks(chain, *inputs)


def _in_order(segment: Sequence[Block]) -> Callable[..., Border]:
    return lambda *border: in_order(segment, border)


def _made(settings: Mapping[str, Any]) -> Model:
    """The model that a job names: a `FILE.py:FUNCTION`, or a file that holds one that the caller has in memory."""
    _check_device(settings["device"])
    torch.set_default_device(settings["device"])  # tensors that a user's function makes are there
    torch.manual_seed(MODEL_SEED)
    if "pickle" in settings:
        return Model(*cloudpickle.loads(Path(settings["pickle"]).read_bytes()))
    place, _, name = settings["model"].rpartition(":")
    try:
        made = _function(Path(place), name)()
    except (Exception, SystemExit) as error:
        raise ValueError(f"{told(error, place)}, as {name}() makes the model") from None
    return checked(made, f"{place}: {name}()", settings["blocks"])


def _check_device(device: str) -> None:
    known = device.partition(":")[0]
    if known not in ("cpu", "cuda"):
        raise ValueError(f"device must be cpu or cuda, got {device!r}")
    if known == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device}: PyTorch {torch.__version__} finds no such GPU on this machine")


def _function(path: Path, name: str) -> Callable[[], Any]:
    """The function of this name in a user's file, which is run to find it."""
    if not path.is_file():
        raise FileNotFoundError("there is no such file")
    spec = importlib.util.spec_from_file_location(f"model_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where pickle and dataclasses look for what they are in
    sys.path.insert(0, str(path.parent))  # what stands beside it can be imported
    spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        known = [known for known, value in vars(module).items() if callable(value) and not known.startswith("_")]
        raise AttributeError(f"it has no function {name}{did_you_mean(name, known)}")
    return function


def checked(made: Any, place: str, blocks: str | None) -> Model:
    """What a user's function has made. Raises ValueError where that is no model with its sample and loss."""
    match made:
        case (torch.nn.Module() as module, sample, loss, *given) if callable(loss) and len(given) < 2:
            inputs = sample if isinstance(sample, tuple) else (sample,)
            if any(isinstance(each, torch.Tensor) for each in inputs):
                return Model(module, inputs, loss, blocks or next(iter(given), None))
    raise ValueError(
        f"{place} must return a model, a sample and a loss, and may add a list of blocks: a torch.nn.Module, a tensor "
        f"or a tuple with tensors, and a function of the model's output; it returned {_kinds(made)}"
    )


def _kinds(made: Any) -> str:
    if isinstance(made, tuple):
        return f"({', '.join(type(each).__name__ for each in made)})"
    return type(made).__name__
