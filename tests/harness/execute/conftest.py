"""A run of an experiment whose workers answer at once."""

import pytest

from harness.execute.run import Run
from harness.experiment.file import Experiment
from harness.results.store import Store
from tests.support.runs import TEXT, Workers


@pytest.fixture
def workers():
    return Workers()


@pytest.fixture
def start(tmp_path, workers):
    """Start a run of an experiment file's text; its results are always under the same folder."""

    def start(text=TEXT, **options):
        path = tmp_path / "experiment.toml"
        path.write_text(text)
        return Run(Experiment.load(path), Store(tmp_path / "results"), execute=workers, **options)

    return start
