"""Plans of PyTorch models: what is computed of their tables, and that the committed ones keep what is promised."""

import pytest

from harness.analysis.models import PROMISED, planned, predicted, with_times
from harness.provenance import ROOT
from harness.results.folder import read_results
from tests.support.tables import model_tables

FOLDER = ROOT / "results/own_models"


def test_a_model_is_told_by_its_file_and_a_variant_by_its_number():
    told = planned(model_tables()["models_memory"])
    assert list(dict.fromkeys(told["name"])) == ["mlp", "residual", "encoder", "unet", "decoder"]
    assert set(told["kind"]) == {"planned"}
    assert told["spare_share"].between(0.0019, 0.0021).all()


def test_ratios_are_of_the_cells_that_were_timed():
    told = with_times(*model_tables().values())
    assert set(told["gradients"]) == {"kept"}
    assert (told.loc[told["variant"] == "plain", "time_ratio"] == 1).all()
    assert (told["repeats"] == 15).all()
    assert set(told.loc[told["kind"] == "torch_checkpoint", "number"]) == {"1", "2", "4"}


@pytest.mark.skipif(not FOLDER.exists(), reason="results/own_models is measured by make models")
def test_the_committed_plans_keep_their_budgets_and_their_predictions():
    memory = read_results(FOLDER).tables()["models_memory"]
    assert set(memory["status"]) == {"ok"}
    own = planned(memory)
    assert (own.groupby(["name", "gradients"]).size() == 10).all()
    assert own["name"].nunique() == 5
    assert (own["spare_share"] >= 0).all()
    errors = predicted(memory).dropna(subset="budget_bytes")
    for gradients, rows in errors.groupby("gradients"):
        assert (rows["error"].abs() <= PROMISED[str(gradients)]).all()
