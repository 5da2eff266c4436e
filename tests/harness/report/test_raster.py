"""The raster of a step: what its script draws is what the data say."""

import re

import pytest

from harness.analysis.trace import STATES
from harness.provenance import ROOT

SCRIPT = (ROOT / "harness/report/assets/raster.js").read_text()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_each_state_has_a_colour(theme: str):
    (colours,) = re.findall(rf"^  {theme}: {{ (.*) }},$", SCRIPT, re.M)
    assert sorted(state.strip('"') for state in re.findall(r'("[^"]+"|\w+): "#', colours)) == sorted(STATES)


def test_each_state_is_stacked():
    (stacked,) = re.findall(r"^const STACKED = \[(.*)\];$", SCRIPT, re.M)
    assert sorted(re.findall(r'"([^"]+)"', stacked)) == sorted(STATES)
