"""Own models on the command line: `profile` and `plan --model`, what they print, keep within, and refuse."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.commands.command_line import app
from networks.planning.own_models import BlockPlan, BlockProfile
from tests.support.profiles import MIB, block, profile

needs_torch = pytest.mark.usefixtures("torch")

MODEL = """
import torch
from torch import nn


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 64)

    def forward(self, x):
        return torch.tanh(self.linear(x))


def make():
    y = torch.randint(0, 64, (8192,))
    model = nn.Sequential(*(Layer() for _ in range(8)))
    return model, torch.randn(8192, 64), lambda outputs: nn.functional.cross_entropy(outputs, y)


def evaluating():
    model, x, loss = make()
    return model.eval(), x, loss


def raising():
    raise KeyError("no such thing")


def nothing():
    return None


def elsewhere():
    model, x, loss = make()
    return model, torch.zeros(8192, 64, device="cpu"), loss


def reading():
    model, x, _ = make()
    return model, x, lambda outputs: outputs.mean() * outputs.max().item()


number = 7
"""


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("elsewhere") / "my_model.py"
    path.write_text(MODEL)
    return path


def invoke(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


def refused(*arguments):
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    (line,) = result.output.splitlines()
    return line


@needs_torch
def test_a_profile_is_printed_a_row_a_block_and_saved(model, tmp_path):
    path = tmp_path / "profile.json"
    result = invoke("profile", f"{model}:make", "--save", path)
    assert result.exit_code == 0, result.output
    assert "8 blocks" in result.output
    assert len(re.findall(r"^\d +2\.00 MiB", result.output, re.MULTILINE)) == 8
    profile = BlockProfile.from_json(path.read_text())
    assert [block.made_bytes for block in profile.blocks] == [(2**21,)] * 8
    assert json.loads(invoke("profile", f"{model}:make", "--json").output)["fingerprint"] == profile.fingerprint


@needs_torch
def test_a_plans_measured_peak_is_within_its_budget(model, tmp_path):
    path = tmp_path / "plan.json"
    asked = ("plan", "--model", f"{model}:make", "--budget", "12MiB", "--measure", "--json", "--save", path)
    result = invoke(*asked)
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    (best,) = (row for row in answer["rows"] if row["best"])
    assert best["peak_bytes"] <= answer["budget_bytes"] == 12 * 2**20
    assert best["peak_bytes"] == pytest.approx(best["predicted_peak_bytes"], rel=0.005)
    plain = answer["rows"][0]
    assert answer["checkpoints"][-1]["schedule"] == "torch_checkpoint(8)"
    assert plain["peak_bytes"] == pytest.approx(plain["predicted_peak_bytes"], rel=0.01)  # it runs without the executor
    assert plain["peak_bytes"] > answer["budget_bytes"]
    assert best["time_ratio"] > 0
    assert BlockPlan.from_json(path.read_text()).best.schedule == answer["schedule"]
    step = "from my_model import make; model, x, loss = make(); loss(planned(model, plan)(x)).backward()"
    program = f"""
from networks.planning.own_models import BlockPlan
from networks.torch_models import planned
plan = BlockPlan.from_json(open({str(path)!r}).read())
{step}
"""
    places = {"PYTHONPATH": f"{model.parent}:{Path(__file__).parents[3]}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=places, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@needs_torch
def test_a_plan_is_printed_for_people(model):
    result = invoke("plan", "--model", f"{model}:make", "--budget", "12MiB", "--gradients", "freed")
    assert result.exit_code == 0, result.output
    for words in ("my_model.py:make: 8 blocks", "gradients freed", "best", "the smallest budget", "the whole bill"):
        assert words in result.output


@needs_torch
def test_a_budget_that_nothing_meets_names_the_one_that_is_met(model):
    line = refused("plan", "--model", f"{model}:make", "--budget", "1MiB")
    assert re.match(r"no plan meets a budget of 1.00 MiB \(1,048,576 bytes\): the smallest .* is \d+\.\d\d MiB", line)
    assert re.search(r"; with parameters, state of sgd and data, that is \d+\.\d\d MiB \([\d,]+ bytes\) in all$", line)


@needs_torch
@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("made", r"my_model.py: has no function made; did you mean make\?"),
        ("number", r"my_model.py: has no function number"),
        ("raising", r"my_model.py:27: KeyError: 'no such thing', while raising\(\) made the model"),
        ("nothing", r"nothing\(\) must return a model, a sample and a loss.*it returned NoneType"),
        ("evaluating", r"the model is in eval mode.*call model.train\(\) first"),
    ],
)
def test_what_is_wrong_with_a_models_file_is_one_line(model, function, message):
    assert re.search(message, refused("profile", f"{model}:{function}"))


@needs_torch
@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda", "device cuda: PyTorch .* finds no such GPU on this machine"),
        ("tpu", "device must be cpu, cuda or meta, got 'tpu'"),
    ],
)
def test_a_device_that_is_not_there_is_one_line(model, device, message):
    assert re.match(message, refused("profile", f"{model}:make", "--device", device))


@needs_torch
def test_on_the_meta_device_bytes_are_the_cpus_without_scratch(model, tmp_path):
    """memray counts what the other profile only derives from shapes."""
    path = tmp_path / "profile.json"
    result = invoke("profile", f"{model}:make", "--device", "meta", "--save", path)
    assert result.exit_code == 0, result.output
    assert "scratch of kernels is missing" in result.output
    assert " ms" not in result.output
    meta = BlockProfile.from_json(path.read_text())
    cpu = BlockProfile.from_json(invoke("profile", f"{model}:make", "--json").output)
    assert (meta.parameters_bytes, meta.trained_bytes, meta.data_bytes) == (
        cpu.parameters_bytes,
        cpu.trained_bytes,
        cpu.data_bytes,
    )
    for one, other in zip(meta.blocks, cpu.blocks, strict=True):
        for same in ("made_bytes", "tape_bytes", "tape_inputs", "tape_outputs", "gradient_bytes", "forward_flops"):
            assert getattr(one, same) == getattr(other, same), same
        for peak in ("run_bytes", "taped_run_bytes", "backward_bytes", "freed_backward_bytes"):
            assert 0.99 * getattr(other, peak) < getattr(one, peak) <= getattr(other, peak), peak
    planned = invoke("plan", "--model", path, "--budget", "12MiB")
    assert "predicted from operations" in planned.output


@needs_torch
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("profile", "elsewhere"),
            "the sample is on cpu, but the device asked for is meta: leave the device out where",
        ),
        (("profile", "reading"), "my_model.py:41: RuntimeError: .*, on the meta device, whose tensors have no values"),
        (("plan", "make"), "--measure does not go with --device meta"),
    ],
)
def test_what_the_meta_device_cannot_do_is_one_line(model, arguments, message):
    command, function = arguments
    asked = ("profile", f"{model}:{function}")
    if command == "plan":
        asked = ("plan", "--model", f"{model}:{function}", "--measure", "--budget", "1GB")
    assert re.search(message, refused(*asked, "--device", "meta"))


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "one layer.json"
    path.write_text(profile(block("embedding"), block("layer"), block("head")).to_json())
    return path


def test_a_deep_stack_is_planned_from_one_profiled_block(saved, tmp_path):
    """96 layers of 5 MiB each plain, and the budget of 80 GB that no block here could fill by being run."""
    asked = ("plan", "--model", saved, "--repeat", "layer=96", "--json", "--budget")
    deep = json.loads(invoke(*asked, "100MiB", "--save", tmp_path / "plan.json").output)
    assert deep["blocks"] == 98
    assert deep["predicted_peak_bytes"] <= 100 * MIB < deep["rows"][0]["predicted_peak_bytes"]
    assert len(BlockPlan.from_json((tmp_path / "plan.json").read_text()).profile.blocks) == 98
    assert json.loads(invoke(*asked, "80GB").output)["schedule"] == "plain()"
    assert "block layer was profiled once and stands 96 times" in deep["notes"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--repeat", "layer"), "--repeat must be a block and its number of repeats, such as layers.0=96, got"),
        (("--repeat", "layers=3"), "--repeat layers=3: the block to repeat must be one of embedding, layer, head"),
        (("--repeat", "layer=0"), "--repeat layer=0: times must be an integer of at least 1, got 0"),
        (("--measure",), "--measure does not go with a profile in a file"),
        (("--blocks", "auto"), "--blocks does not go with a profile in a file"),
    ],
)
def test_what_a_saved_profile_cannot_do_is_one_line(saved, arguments, message):
    assert refused("plan", "--model", saved, "--budget", "1GB", *arguments).startswith(message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("profile", "nowhere.py:make"), "nowhere.py: there is no such file"),
        (
            ("profile", "my_model"),
            "a model must be written as its file and its function, such as my_model.py:make, got",
        ),
        (("profile", "my_model.py:"), "a model must be written as its file and its function"),
        (("plan", "--model", "m.py:make", "--layers", "8,4,2", "--budget", "1MB"), "--layers does not go with --model"),
        (("plan", "--model", "m.py:make", "--step", "backward", "--budget", "1MB"), "--step does not go with --model"),
        (("plan", "--model", "m.py:make", "--max-depth", "--budget", "1MB"), "--max-depth does not go with --model"),
        (("plan", "--layers", "8,4,2", "--batch", "2", "--blocks", "x"), "--blocks does not go with --layers"),
        (("plan", "--budget", "1MB"), "--layers and --batch must be given, or --model"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, message):
    assert message in refused(*arguments)


def test_the_options_of_a_model_are_checked_before_it_is_profiled(model):
    asked = ("plan", "--model", f"{model}:make")
    assert refused(*asked) == "one of --budget and --budget-total must be given"
    assert refused(*asked, "--budget", "1MB", "--budget-total", "2MB").startswith("only one of")
    assert refused(*asked, "--budget", "1MB", "--gradients", "lost").startswith(
        "--gradients must be one of kept, freed"
    )
    assert refused(*asked, "--budget", "1 apple").startswith("--budget must be")
