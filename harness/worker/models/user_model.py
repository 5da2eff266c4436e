"""The user's own PyTorch model in a worker: made by a function in a file of theirs, which is run, or handed over."""

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
import torch

from harness.experiment.model_cell import file_and_function
from networks.schedules.foreign import Source, function_in, told
from networks.torch_models.inputs import device_of, tensors_by_name

MODEL_SEED = 0


class Model(NamedTuple):
    """What a user's `make()` returns."""

    module: torch.nn.Module
    sample: tuple[Any, ...]
    loss: Callable[[Any], torch.Tensor]
    blocks: Any
    """How it is cut, as `blocks_of` takes it."""

    @property
    def device(self) -> str:
        """Where all of it is. Raises ValueError if it is on several devices."""
        return device_of(self.module, self.sample)


def model_of(settings: Mapping[str, Any]) -> Model:
    """The model that a job names: a `FILE.py:FUNCTION`, or a file that holds one that the caller has in memory."""
    if "pickle" in settings:
        sys.path += (path for path in settings["modules"] if path not in sys.path)  # what the caller imports
        torch.set_default_dtype(dtype_named(settings["dtype"]))
        model = Model(*cloudpickle.loads(Path(settings["pickle"]).read_bytes()))
        _use(model.device)
        return model
    _use(settings["device"])
    place, name = file_and_function(settings["model"])
    sys.path.insert(0, str(Path(place).parent))  # what stands beside it can be imported
    model = made_by(place, name, [Source.read(place, Path())], settings["blocks"])
    return placed(model, settings["device"])


def dtype_named(name: str) -> torch.dtype:
    """The dtype of this name, such as torch.float32."""
    dtype: torch.dtype = getattr(torch, name.removeprefix("torch."))
    return dtype


def made_by(place: str, name: str, sources: Iterable[Source], blocks: str | None) -> Model:
    """What the function of this name makes, in a file that is among `sources`.

    Raises ValueError, in a line, where that is no model with its sample and loss; `blocks` go before those it returns.
    """
    function = function_in(place, name, sources)
    try:
        made = function()
    except (Exception, SystemExit) as error:
        raise ValueError(f"{told(error, place)}, while {name}() made the model") from None
    match made:
        case (torch.nn.Module() as module, sample, loss, *given) if callable(loss) and len(given) < 2:
            inputs = sample if isinstance(sample, tuple) else (sample,)
            if any(isinstance(each, torch.Tensor) for each in inputs):
                return Model(module, inputs, loss, blocks or next(iter(given), None))
    raise ValueError(
        f"{place}: {name}() must return a model, a sample and a loss, and may add a list of blocks: a torch.nn.Module, "
        f"a tensor or a tuple with tensors, and a function of the model's output; it returned {_kinds(made)}"
    )


def _use(device: str) -> None:
    """Make tensors on this device from now on, from the same seed in each process."""
    _check_device(device)
    if device != "cpu":  # the default, which slows no operation down
        torch.set_default_device(device)  # tensors that a user's function makes are there
    if device.startswith("cuda"):
        torch.cuda.set_device(torch.empty(0).device)  # where the meter counts
    torch.manual_seed(MODEL_SEED)


def _check_device(device: str) -> None:
    known = device.partition(":")[0]
    if known not in ("cpu", "cuda") and device != "meta":
        raise ValueError(f"device must be cpu, cuda or meta, got {device!r}")
    if known == "cuda" and (torch.device(device).index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {device}: PyTorch {torch.__version__} finds no such GPU on this machine")


def placed(model: Model, device: str) -> Model:
    """The model, if all of it is on the device asked for. A meter counts on one device alone."""
    asked = torch.empty(0, device=device).device  # with its number
    for name, tensor in tensors_by_name(model.module, model.sample):
        if tensor.device != asked:
            raise ValueError(
                f"{name} is on {tensor.device}, but the device asked for is {device}: leave the device out where "
                f"you make the model; it is then made on {device}"
            )
    return model


def _kinds(made: Any) -> str:
    if isinstance(made, tuple):
        return f"({', '.join(type(each).__name__ for each in made)})"
    return type(made).__name__
