"""A grid of a user's own model: what its steps take, and what they compute."""

from pathlib import Path

import pandas as pd
import pytest

torch = pytest.importorskip("torch")

from typer.testing import CliRunner

from harness.commands.command_line import app
from harness.execute.process import run_in_subprocess
from harness.experiment.job import Job
from harness.experiment.model_cell import file_and_function
from harness.experiment.model_grid import ModelGrid
from harness.results.folder import read_results
from harness.worker.models.measures import gradients_of, step_of
from harness.worker.models.meters import TensorMeter
from harness.worker.models.profile import profile_model
from harness.worker.models.user_model import Model, made_by
from networks.planning.own_models import BlockProfile
from networks.schedules.foreign import Source

DEPTH, WIDTH, BATCH, REPEATS = 4, 64, 2048, 6

MODEL = f"""
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear({WIDTH}, {WIDTH}), nn.Tanh()) for _ in range({DEPTH}))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def make():
    return Net(), torch.ones({BATCH}, {WIDTH}), lambda y: (y * y).mean()


def linear():
    layers = [nn.Linear(8, 8, bias=False) for _ in range(3)]
    return nn.Sequential(*layers), torch.ones(4, 8), lambda y: (y * y).mean(), layers


def without_loss():
    return Net(), torch.ones({BATCH}, {WIDTH}), "mean"
"""

EXPERIMENT = f"""
title = "Tiny"
measure = ["models_memory", "models_time"]
figures = ["models_tradeoff", "models_prediction", "models_budget"]

[grid]
model = ["own.py:make"]
blocks = ["layers"]
torch_checkpoint = [2]
budget = ["0%", "50%", "100%", "20MB"]
gradients = ["kept", "freed"]

[models_time]
repeats = {REPEATS}
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("own") / "own.py"
    path.write_text(MODEL)
    return path


def invoke(*arguments: object):
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture(scope="module")
def results(own) -> Path:
    """What the commands write of the experiment."""
    (own.parent / "tiny.toml").write_text(EXPERIMENT)
    done = invoke("run", own.parent / "tiny.toml", "--results", own.parent)
    assert done.exit_code == 0, done.output
    return own.parent / "tiny"


@pytest.fixture(scope="module")
def tables(results) -> dict[str, pd.DataFrame]:
    return read_results(results).tables()


def test_every_step_is_measured_with_gradients_kept_and_freed(tables):
    memory = tables["models_memory"]
    assert set(memory["status"]) == {"ok"}
    assert memory.groupby("gradients").size().to_dict() == {"freed": 6, "kept": 6}


def test_no_planned_step_takes_more_than_predicted_with_its_allowance_or_than_its_budget(tables):
    planned = tables["models_memory"].query("variant == 'planned'")
    most = planned["predicted_peak_bytes"] + planned["allowance_bytes"]
    assert (planned["peak_bytes"] <= most).all()
    assert (most <= planned["budget_bytes"]).all()


def test_every_peak_is_as_predicted(tables):
    memory = tables["models_memory"]
    assert memory["peak_bytes"].tolist() == pytest.approx(memory["predicted_peak_bytes"].tolist(), rel=0.02)


def test_a_plain_step_holds_the_output_of_every_layer(tables):
    plain = tables["models_memory"].query("variant == 'plain'")
    assert (plain["peak_bytes"] > DEPTH * BATCH * WIDTH * 4).all()


def test_a_budget_of_the_plain_peak_needs_no_more_work_and_the_smallest_does(tables):
    work = tables["models_memory"].set_index("budget")["work"]
    assert set(work[["100%", "20MB"]]) == {1}
    assert work["0%"].min() > work["50%"].max()
    assert work["50%"].min() > 1


def test_a_budget_in_bytes_is_taken_as_it_is_and_none_percent_is_the_smallest(tables):
    memory = tables["models_memory"].set_index("budget")
    assert set(memory.loc["20MB", "budget_bytes"]) == {20_000_000}
    assert (memory.loc["0%", "budget_bytes"] == memory.loc["0%", "smallest_budget_bytes"]).all()


def test_every_step_is_timed_in_every_round_beside_the_plain_one(tables):
    time = tables["models_time"]
    assert set(time["gradients"]) == {"kept"}
    assert (time["step_seconds"] > 0).all()
    assert time.groupby("cell_id")["repeat"].apply(list).tolist() == [[*range(REPEATS)]] * 6
    assert sorted(time["position"]) == [*range(6 * REPEATS)]
    plain = time.query("variant == 'plain'").set_index("repeat")["step_seconds"]
    beside = time["repeat"].map(plain)
    assert time["time_ratio"].tolist() == pytest.approx((time["step_seconds"] / beside).tolist())


def test_results_are_drawn_and_do_not_differ_from_themselves(results):
    drawn = invoke("plot", results)
    assert drawn.exit_code == 0, drawn.output
    figures = {path.stem for path in (results / "figures").glob("*.svg")}
    assert figures == {"models_tradeoff", "models_prediction", "models_budget"}
    compared = invoke("compare", results, results, "--fail-if-memory-grows", "--fail-if-cells-missing")
    assert compared.exit_code == 0, compared.output


def test_verify_says_that_no_table_of_own_models_repeats_to_the_byte(results):
    refused = invoke("verify", results)
    assert refused.exit_code == 2
    (line,) = refused.output.splitlines()
    assert line.endswith("and nothing else repeats to the byte")


def test_a_budget_that_cannot_be_met_is_a_line_that_names_the_smallest(own):
    grid = ModelGrid(model=[f"{own}:linear"], budget=["1kB"])
    cells = tuple(cell.with_sources([Source.read(str(own), Path())]) for cell in grid.cells())
    outcome = run_in_subprocess(Job(measure="models_memory", cells=cells))
    assert outcome.rows is None
    assert outcome.error.startswith(
        "ValueError: no plan meets a budget of 1,000 bytes: the smallest that can be met is "
    )
    assert "\n" not in outcome.error


def made(own: Path, name: str, blocks: str | None = None) -> Model:
    torch.manual_seed(0)
    return made_by(*file_and_function(f"{own}:{name}"), [Source.read(str(own), Path())], blocks)


def gradients_after(model: Model, variant: object) -> list[torch.Tensor]:
    step_of(model, variant)()
    return [parameter.grad.clone() for parameter in model.module.parameters()]


@pytest.mark.parametrize(("name", "blocks"), [("make", "layers"), ("linear", None)])
@pytest.mark.parametrize("variant", ["torch_checkpoint", "planned"])
def test_the_gradients_of_each_step_are_those_of_plain_autograd(own, name, blocks, variant):
    model = made(own, name, blocks)
    if variant == "planned":
        row = profile_model(model.module, model.sample, model.loss, model.blocks, TensorMeter())
        profile = BlockProfile.from_row(row)
        asked = {"plan": profile.plan(budget_bytes=profile.budgets()[0]).to_json()}
    else:
        asked = {"torch_checkpoint": 2}
    plain = gradients_after(model, "plain")
    assert all(map(torch.equal, plain, gradients_after(model, asked)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler about itself
def test_the_gradients_of_a_compiled_step_are_those_of_plain_autograd(own):
    model = made(own, "linear")
    plain = gradients_after(model, "plain")
    torch.testing.assert_close(gradients_after(model, {"torch_compile": 0.5}), plain)


def test_freed_gradients_are_gone_after_the_step(own):
    model = made(own, "linear")
    with gradients_of(model, "freed"):
        step_of(model, "plain")()
    assert all(parameter.grad is None for parameter in model.module.parameters())


def test_an_unknown_variant_is_refused(own):
    with pytest.raises(ValueError, match=r"^a variant must be plain, .*, got 'plane'$"):
        step_of(made(own, "linear"), "plane")


def test_a_function_that_returns_no_loss_is_told_what_it_returned(own):
    with pytest.raises(ValueError, match=r"it returned \(Net, Tensor, str\)$"):
        made(own, "without_loss")
