"""Measures a user's own PyTorch model in fresh processes."""

import os
import pickle
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import RunAbortedError, missing_extra, naming_extras
from harness.execute.machine_lock import at_work
from harness.execute.process import run_in_subprocess
from harness.execute.scratch import scratch
from harness.experiment.job import Job, Row
from harness.experiment.measures import MEASURES
from harness.experiment.model_cell import file_and_function, names_model
from harness.experiment.settings import ModelsTimeSettings
from networks.planning.own_models import BlockProfile


@dataclass(frozen=True)
class OwnModel:
    """A user's model. The `settings` of a job tell a worker where it is, and how it is cut into blocks."""

    settings: Mapping[str, Any]

    @classmethod
    def in_file(cls, text: str, blocks: str | None = None, device: str = "cpu") -> "OwnModel":
        """The model that a `FILE.py:FUNCTION` makes.

        Raises:
            ValueError: `text` is not written like this, or there is no such file.
        """
        if not names_model(text):
            raise ValueError(
                f"a model must be written as its file and its function, such as my_model.py:make, got {text!r}"
            )
        path, function = file_and_function(text)
        if not Path(path).is_file():
            raise ValueError(f"{path}: there is no such file")
        return cls({"model": f"{Path(path).absolute()}:{function}", "blocks": blocks, "device": device})

    @property
    def name(self) -> str:
        """The file and its function."""
        return str(self.settings["model"]).rpartition("/")[2]

    @property
    def can_run(self) -> bool:
        """Whether its steps can be measured. On the meta device its tensors have no values."""
        return self.settings["device"] != "meta"

    def profile(self) -> BlockProfile:
        """Profile the model. It takes seconds for each kind of block."""
        ((row,),) = self._measured("profile", {})
        return BlockProfile.from_row(row)

    def peaks(self, variant: Any, *, gradients: str) -> Row:
        """The peaks of a step by "plain", {"torch_checkpoint": n} or {"plan": JSON}, and the first step's loss.

        `peak_bytes` are the requested bytes, by memray or on a GPU by PyTorch's allocator. On a GPU
        `allocated_peak_bytes` and `reserved_peak_bytes` tell the allocator's own memory, parameters included.
        """
        ((row,),) = self._measured("model_peak", {"variants": [variant], "gradients": gradients})
        return row

    def peak_bytes(self, variant: Any, *, gradients: str) -> int:
        """`peak_bytes` of `peaks`."""
        return int(self.peaks(variant, gradients=gradients)["peak_bytes"])

    def seconds(self, variants: Sequence[Any], *, gradients: str) -> list[list[float]]:
        """Seconds of the steps of each variant. Variants take turns, so seconds at the same place are of one round."""
        settings = ModelsTimeSettings().model_dump()
        (rows,) = self._measured("model_seconds", {"variants": list(variants), "gradients": gradients, **settings})
        seconds: list[list[float]] = [[] for _ in variants]
        for row in rows:
            seconds[row["variant"]].append(row["step_seconds"])
        return seconds

    def _measured(self, measure: str, settings: Mapping[str, Any]) -> list[list[Row]]:
        job = Job(measure=measure, cells=(), settings={**self.settings, **settings})
        with at_work(alone=not MEASURES[measure].counts_bytes):
            outcome = run_in_subprocess(job)
        if outcome.rows is None:
            raise _complaint(outcome.error)
        return outcome.rows


def _complaint(error: str) -> Exception:
    """The error of a worker: a missing package, a ValueError of the user's model, or a failed measurement."""
    kind, _, message = error.partition(": ")
    module = re.fullmatch(r"No module named '(\S+)'", message)
    if kind == "ModuleNotFoundError" and module and (missing := missing_extra(module[1])):
        return missing
    return ValueError(message) if kind == "ValueError" else RunAbortedError(f"the model cannot be measured: {error}")


@contextmanager
def _in_memory(model: Any, sample: Any, loss: Callable[..., Any], blocks: Any) -> Iterator[OwnModel]:
    """A model of this process, given to workers in a file. Its tensors tell its device.

    Raises ValueError if it cannot be copied.
    """
    with naming_extras():
        import cloudpickle

    inputs = sample if isinstance(sample, tuple) else (sample,)
    try:
        content = cloudpickle.dumps((model, inputs, loss, blocks))
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        raise ValueError(f"model, sample and loss must be picklable, for another process: {error}") from None
    with scratch() as folder:
        path = folder / "model.pickle"
        path.write_bytes(content)
        yield OwnModel({"pickle": str(path), "modules": [os.path.abspath(each) for each in sys.path], **_defaults()})


def _defaults() -> dict[str, Any]:
    """What is set for all operations of this process: dtype, and autocast by device.

    Whoever has a model of PyTorch has imported PyTorch.
    """
    torch: Any = sys.modules.get("torch")
    on = [device for device in ("cpu", "cuda") if torch and torch.is_autocast_enabled(device)]
    dtype = torch.get_default_dtype() if torch else "torch.float32"
    return {"dtype": str(dtype), "autocast": {device: str(torch.get_autocast_dtype(device)) for device in on}}


def profile_blocks(
    model: Any, sample: Any, *, loss: Callable[[Any], Any], blocks: str | Sequence[Callable[..., Any]] | None = None
) -> BlockProfile:
    """Profile a PyTorch model, block by block, in a fresh process of one thread.

    It has the autocast and the default dtype that are set here.

    Args:
        model: a `torch.nn.Module` in training mode. The other process gets a copy, and the model does not change.
        sample: a tensor, or a tuple of the model's arguments, in the shapes of the training, on the model's device.
        loss: maps the model's output to the loss.
        blocks: None, a path such as "encoder.layers", "auto" or a list of callables; see
            `networks.torch_models.blocks.blocks_of`.

    Raises:
        ValueError: the model cannot be cut like this, cannot be copied, or is on several devices. The message says what
            to give.
        RunAbortedError: the other process failed.
    """
    with _in_memory(model, sample, loss, blocks) as own:
        return own.profile()
