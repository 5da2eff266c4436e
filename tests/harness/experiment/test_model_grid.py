"""A grid of users' models: the variants that it lists."""

import pytest

from harness.experiment.model_cell import variant_of
from harness.experiment.model_grid import ModelGrid


@pytest.mark.parametrize("share", [0, 0.5, 1, 0.123456789])
def test_a_share_for_the_compiler_goes_to_the_worker_as_it_is(share):
    _, cell = ModelGrid(model=["mlp.py:make"], torch_compile=[share]).cells()
    assert variant_of(cell.variant) == {"torch_compile": pytest.approx(share, abs=0)}
    assert type(variant_of(cell.variant)["torch_compile"]) is float
