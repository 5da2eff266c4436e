"""Measures users' models in an experiment: the memory or the time of each variant of a training step.

A model is profiled once for each cut into blocks. Plans and predictions come from that profile.
"""

import json
import os
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch

from harness.experiment.job import Job, Row
from harness.experiment.model_cell import PLAIN, ModelCell, budget_between, file_and_function, variant_of
from harness.worker import probes
from harness.worker.models.measures import gradients_of, peaks_of, step_of, times_of
from harness.worker.models.meters import meter_of
from harness.worker.models.profile import profile_model
from harness.worker.models.user_model import MODEL_SEED, Model, made_by, placed
from networks.planning.model_rows import cost_of
from networks.planning.own_models import BlockPlan, BlockProfile

DEVICE = "cpu"


class Subject(NamedTuple):
    """A model, cut into blocks, and its profile."""

    model: Model
    profile: BlockProfile

    def plan(self, cell: ModelCell) -> BlockPlan | None:
        """The plan of a cell. None if it has no budget."""
        if cell.budget is None:
            return None
        budget_bytes = budget_between(*self.profile.budgets(cell.gradients), cell.budget)
        return self.profile.plan(budget_bytes=budget_bytes, gradients=cell.gradients)


def measure_memory(job: Job) -> list[list[Row]]:
    """The measured and predicted peak of a step of each variant. Each variant has a process of its own."""
    subjects = _subjects(job.cells)
    plans = [subjects[cell.blocks].plan(cell) for cell in job.cells]
    return [
        [_apart(partial(_memory, cell, subjects[cell.blocks], plan))]
        for cell, plan in zip(job.cells, plans, strict=True)
    ]


def measure_time(job: Job) -> list[list[Row]]:
    """Seconds of a step of each variant. Variants take turns, in a new order in each round."""
    cpu = probes.pin_to_one_cpu()
    subjects = _subjects(job.cells)
    plans = [subjects[cell.blocks].plan(cell) for cell in job.cells]
    steps = [
        step_of(subjects[cell.blocks].model, _variant(cell, plan)) for cell, plan in zip(job.cells, plans, strict=True)
    ]
    rows = times_of(steps, job.settings)
    plain = {cell.blocks: of_cell for cell, of_cell in zip(job.cells, rows, strict=True) if cell.variant == PLAIN}
    for cell, plan, of_cell in zip(job.cells, plans, rows, strict=True):
        for row, beside in zip(of_cell, plain[cell.blocks], strict=True):
            row |= {**_told(plan), "cpu": cpu, "time_ratio": row["step_seconds"] / beside["step_seconds"]}
    return rows


def _subjects(cells: Sequence[ModelCell]) -> dict[str | None, Subject]:
    """The model of a job for each cut into blocks."""
    return {cell.blocks: _subject(cell) for cell in {cell.blocks: cell for cell in cells}.values()}


def _subject(cell: ModelCell) -> Subject:
    torch.manual_seed(MODEL_SEED)
    model = placed(made_by(*file_and_function(cell.model), cell.sources, cell.blocks), DEVICE)
    profile = profile_model(model.module, model.sample, model.loss, model.blocks, meter_of(DEVICE))
    return Subject(model, BlockProfile.from_row(profile))


def _memory(cell: ModelCell, subject: Subject, plan: BlockPlan | None) -> Row:
    step = step_of(subject.model, _variant(cell, plan))
    with gradients_of(subject.model, cell.gradients):
        peaks = peaks_of(step, subject.model, meter_of(DEVICE))
    return {**_told(plan), **_expected(cell, subject, plan), **peaks}


def _variant(cell: ModelCell, plan: BlockPlan | None) -> Any:
    """The variant of a cell, as `step_of` takes it."""
    return variant_of(cell.variant) if plan is None else {"plan": plan.to_json()}


def _told(plan: BlockPlan | None) -> Row:
    return {} if plan is None else {"budget_bytes": plan.budget_bytes, "schedule": plan.best.schedule}


def _expected(cell: ModelCell, subject: Subject, plan: BlockPlan | None) -> Row:
    """The predictions of a cell from the profile. Empty for torch.compile."""
    if plan is not None:
        return {
            "predicted_peak_bytes": plan.predicted_peak_bytes,
            "allowance_bytes": plan.allowance_bytes,
            "work": plan.work,
            "smallest_budget_bytes": plan.smallest_budget_bytes,
        }
    if cell.variant.startswith("torch_compile"):
        return {}
    chain = subject.profile.chain(cell.gradients)
    cost = cost_of(chain, "plain()" if cell.variant == PLAIN else cell.variant)
    return {"predicted_peak_bytes": cost.peak_bytes, "work": cost.forward_flops / sum(chain.forward_flops)}


def _apart(work: Callable[[], Row]) -> Row:
    """The result of `work` in a forked process of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.write(writing, json.dumps(work()).encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        content = answer.read()
    os.waitpid(child, 0)
    if not content:
        raise RuntimeError("the process of a step has ended without an answer; the log has its last words")
    row: Row = json.loads(content)
    return row
