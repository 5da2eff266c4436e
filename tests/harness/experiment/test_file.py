"""Experiment files: what is accepted becomes jobs, what is not becomes one clear line."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.execute.admission import needed_bytes
from harness.experiment.figures import FIGURES
from harness.experiment.file import Experiment
from harness.experiment.grid import Grid
from harness.experiment.job import Job
from harness.experiment.prediction import trace_of
from harness.plots.draw import recipe
from networks.schedules import FACTORIES

PROJECT = Path(__file__).parents[3]
HEAD = 'title = "t"\nmeasure = ["memory"]\n'
GRID = '[grid]\nlayers = ["64,128,10"]\nbatch = [4]\n'
TIME, TRAINING = HEAD.replace("memory", "time"), HEAD.replace("memory", "training")
PEERS = HEAD.replace("memory", "peers_memory")


def load(tmp_path, text):
    path = tmp_path / "experiment.toml"
    path.write_text(text)
    return Experiment.load(path)


NAMES = {
    "measure": f"measure = {{}}\ntitle = 't'\n{GRID}",
    "figures": f"{HEAD}figures = {{}}\n{GRID}",
    **{f"grid.{key}": f"{HEAD}{GRID}{key} = {{}}" for key in ("dtype", "activation", "network", "recompute", "step")},
    **{f"grid.{key}": f"{HEAD}{GRID}{key} = {{}}" for key in ("schedule", "peer")},
    "grid.layers": f"{HEAD}[grid]\nbatch = [4]\nlayers = {{}}",
}
"""Files in which a list of names is still to be written."""

NOT_WORDS = [
    (file.format(f"[{value}]"), f"{key}[0]: must be ")
    for key, file in NAMES.items()
    for value in ("[['growth']]", "{ a = 'growth' }", "3", "nan", "true", "1979-05-27", f"'{'x' * 10_000}'")
    if not (key in ("grid.layers", "grid.schedule") and "x" in value)
]

LARGEST = 2**63 - 1
SEED, FREQUENCY = HEAD + GRID + "seed = [{}]", HEAD + GRID + "checkpoint_frequency = [{}]"
BATCH, WIDTH = HEAD + GRID.replace("[4]", "[{}]"), HEAD + GRID.replace("128", "{}")
MICRO_BATCH = HEAD + GRID + 'step = ["train_step"]\nmicro_batch = [{}]'
REPEATS, EPOCHS = TIME + GRID + "[time]\nrepeats = {}", TRAINING + GRID + "[training]\nepochs = {}"
RATE, LIMIT = TRAINING + GRID + "[training]\nlearning_rate = {}", HEAD + GRID + "[limits]\n{}"
EACH = HEAD + '[grid]\nlayers = ["4x{}"]\nbatch = [{}]\nrecompute = ["each"]\ncheckpoint_frequency = [{}]'

OUT_OF_RANGE = [
    (SEED.format(2**63), f"grid.seed[0]: must be an integer of at most {LARGEST}, got {2**63}"),
    (SEED.format("0x" + "f" * 5000), f"grid.seed[0]: must be an integer of at most {LARGEST}, got one of 20,000 bits"),
    (FREQUENCY.format(2**63), f"grid.checkpoint_frequency[0]: must be an integer of at most {LARGEST}, got {2**63}"),
    (BATCH.format(2**63), f"grid.batch[0]: must be an integer of at most {LARGEST}, got {2**63}"),
    (MICRO_BATCH.format(2**63), f"grid.micro_batch[0]: must be an integer of at most {LARGEST}, got {2**63}"),
    (WIDTH.format(2**63), f"grid.layers[0]: layers[1] must be an integer of at most {LARGEST}, got {2**63}"),
    (WIDTH.format("9" * 5000), "grid.layers[0]: layers '64,99"),
    (BATCH.format(2**62), f"grid: layers 64,128,10: a batch of {2**62} is too large for these layers: a step passes"),
    (WIDTH.format(2**62), "grid: layers 64,4611686018427387904,10: a batch of 4 is too large for these layers"),
    (
        BATCH.format(10**15),
        f"grid: layers 64,128,10: a batch of {10**15} is too large for these layers: a step passes ",
    ),
    (EACH.format(65, 10**15, 64), f"grid: layers 4x65: a batch of {10**15} is too large for these layers: a step "),
    (
        MICRO_BATCH.replace("[4]", "[1_000_000]").format(1),
        "grid: micro_batch must leave at most 100,000 parts of each batch, got 1 and a batch of 1000000",
    ),
    (
        HEAD + GRID.replace("[4]", str([*range(1, 1001)])) + f"seed = {[*range(51)]}",
        "grid: has 102,000 cells, the product of its lists; an experiment has 100,000 at most",
    ),
    (REPEATS.format(2**63), f"time.repeats: must be an integer of at most 1000000, got {2**63}"),
    (EPOCHS.format(2**63), f"training.epochs: must be an integer of at most 1000000, got {2**63}"),
    (RATE.format("1" + "0" * 400), "training.learning_rate: must be a number above 0, got one of 1,329 bits"),
    (RATE.format("inf"), "training.learning_rate: must be a number above 0"),
    (LIMIT.format("timeout = 2073601"), "limits.timeout: must be a number of seconds above 0 and at most 2073600 (24"),
    (
        LIMIT.format("timeout = 0x" + "f" * 5000),
        "limits.timeout: must be a number of seconds above 0 and at most 20736",
    ),
    (
        LIMIT.format("timeout = '9'"),
        "limits.timeout: must be a number of seconds above 0 and at most 2073600 (24 days)",
    ),
    (LIMIT.format("memory_limit = '8388608TiB'"), f"limits.memory_limit: a size must be at most {LARGEST} bytes, got"),
    (LIMIT.format("memory_limit = []"), "limits.memory_limit: must be a string like '2GiB', got []"),
    (
        HEAD + GRID + f'schedule = ["revolve(slots={2**63})"]',
        f"grid.schedule[0]: slots must be an integer of at most {LARGEST}, got {2**63}",
    ),
]
"""Numbers that 64 bits do not hold, typed or derived, and lists whose product no memory holds."""

QUOTED = [
    (HEAD + GRID + '"[grid]" = 1', "grid.'[grid]': is not a key here"),
    (HEAD + GRID + r'"a\u001b\n" = 1', r"grid.'a\x1b\n': is not a key here"),
    (HEAD + GRID + f"{'a' * 10_000} = 1", "grid.'aaaaaaaa"),
]
"""Keys that are no words."""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (HEAD + GRID + "batches = [4]", "grid.batches: is not a key here; the keys are layers, batch, "),
        (HEAD + 'colour = "red"\n' + GRID, "colour: is not a key here; the keys are title, "),
        (GRID + "[time]\nrepeat = 20", "time.repeat: is not a key here; the keys are repeats, order_seed"),
        (HEAD + GRID.replace("[4]", "[0]"), "grid.batch[0]: must be an integer of at least 1, got 0"),
        (HEAD + GRID.replace("[4]", "[4, true]"), "grid.batch[1]: must be an integer of at least 1, got True"),
        (HEAD + GRID.replace("[4]", "[4.0]"), "grid.batch[0]: must be an integer of at least 1, got 4.0"),
        (HEAD + GRID.replace("[4]", "4"), "grid.batch: must be a list, got 4"),
        (HEAD + GRID.replace("[4]", "[]"), "grid.batch: must not be empty"),
        (HEAD + GRID.replace("64,128,10", "64,128y2,10"), "grid.layers[0]: layers '64,128y2,10': '128y2' is not"),
        (HEAD + GRID.replace("64,128,10", "64"), "grid.layers[0]: layers needs at least two widths"),
        (HEAD + GRID.replace('"64,128,10"', "64"), "grid.layers[0]: must be a string, got 64"),
        (HEAD + GRID + 'dtype = ["int8"]', "grid.dtype[0]: must be 'float32' or 'float64', got 'int8'"),
        (HEAD + GRID + "checkpoint_frequency = [-1]", "grid.checkpoint_frequency[0]: must be an integer of at least 1"),
        (HEAD + 'grid = "all"', "grid: must be a table, got 'all'"),
        (HEAD, "grid: is missing"),
        (HEAD + "grid = []", "grid: must not be empty"),
        (
            HEAD + GRID.replace("[grid]", "[[grid]]") + "batches = [4]",
            "grid[0].batches: is not a key here; the keys are",
        ),
        (HEAD + "grid = [4]", "grid[0]: must be a table, got 4"),
        (HEAD + GRID + "schedule = [3]", "grid.schedule[0]: must be a string, got 3"),
        (
            HEAD + GRID + 'schedule = ["sqrt"]',
            "grid.schedule[0]: schedule must be written like revolve(slots=4) or",
        ),
        (HEAD + GRID + 'schedule = ["sqrt({[]})"]', "grid.schedule[0]: schedule must be written like revolve(slots=4)"),
        (HEAD + GRID + 'schedule = ["best()"]', "grid.schedule[0]: schedule must be one of store_all, periodic, "),
        (HEAD + GRID + 'schedule = ["revolve(slots=0)"]', "grid.schedule[0]: slots must be an integer of at least 1"),
        (HEAD + GRID + 'schedule = ["revolve(s=4)"]', "grid.schedule[0]: schedule 'revolve(s=4)': revolve() got an"),
        (
            HEAD + GRID + 'schedule = ["optimal(budget_bytes=7)"]',
            "grid: optimal(budget_bytes=7) cannot serve layers 64,128,10: budget_bytes=7 is too small for 2 layers",
        ),
        (
            HEAD + GRID + 'schedule = ["sqrt()"]\nrecompute = ["each"]',
            "grid: recompute has no effect without checkpoint_",
        ),
        (HEAD.replace('"t"', "3") + GRID, "title: must be a string, got 3"),
        (HEAD.replace("memory", "speed") + GRID, "measure[0]: must be one of memory, timeline, "),
        (HEAD + 'figures = ["pie"]\n' + GRID, "figures[0]: must be one of peak_by_depth, saving_heatmap, "),
        (HEAD + GRID + "[time]\nrepeats = 20", 'time: has no effect, because measure does not list "time"'),
        (
            TIME + GRID + "[time]\nrepeats = 7",
            "time.repeats: must be an integer of at least 15",
        ),
        (HEAD + GRID + 'peer = ["torch.best"]', "grid.peer[0]: must be one of torch.store-all, torch.checkpoint, "),
        (
            HEAD + GRID + 'peer = ["jax.scan"]',
            "grid: peer has only the measures peers_memory, resident, peers_time",
        ),
        (PEERS + GRID + "[resident]\nrepeats = 2", 'resident: has no effect, because measure does not list "resident"'),
        (TRAINING + GRID.replace("64,", "32,"), "grid: layers must start with 64 and end with 10 to be trained"),
        (
            TRAINING + GRID + "[training]\nlearning_rate = nan",
            "training.learning_rate: must be a number above 0, got nan",
        ),
        (TRAINING + GRID + "[training]\nmomentum = 1", "training.momentum: must be a number from 0 to below 1, got 1"),
        (HEAD + GRID + 'step = ["update"]', "grid.step[0]: must be 'backward' or 'train_step', got"),
        (HEAD + GRID + "micro_batch = [2]", "grid: micro_batch has no effect without step = "),
        (
            HEAD + GRID + 'step = ["train_step"]\nmicro_batch = [4]',
            "grid: micro_batch must be less than each batch, got 4 and a batch of 4",
        ),
        (HEAD.replace('"]', '", "memory"]') + GRID, "measure: must not list a measure twice, got ['memory', 'memory']"),
        (
            HEAD + 'figures = ["winners"]\n' + GRID,
            "figures: winners is drawn from time, which measure does not list",
        ),
        ("title = ", "is not TOML: "),
        *NOT_WORDS,
        *OUT_OF_RANGE,
        *QUOTED,
    ],
)
def test_a_problem_is_one_line_with_file_key_and_value(tmp_path, text, problem):
    with pytest.raises(ValueError, match=r"experiment\.toml") as caught:
        load(tmp_path, text)
    lines = str(caught.value).splitlines()
    assert any(line.startswith(f"{tmp_path / 'experiment.toml'}: {problem}") for line in lines)
    assert all(line.isprintable() and len(line) < len(str(tmp_path)) + 600 for line in lines)
    assert len([line for line in lines if problem in line]) == 1


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (HEAD + "mesure = []\n" + GRID, "measure"),
        (HEAD + GRID + "batches = [4]", "batch"),
        (TIME + GRID + "[time]\nrepeat = 20", "repeats"),
        (HEAD + GRID + "[limits]\nmemory-limit = '2GiB'", "memory_limit"),
        (HEAD.replace("memory", "memroy") + GRID, "memory"),
        (HEAD + 'figures = ["growths"]\n' + GRID, "growth"),
        (HEAD + GRID + 'schedule = ["revolv(slots=3)"]', "revolve"),
        (PEERS + GRID + 'peer = ["torch.chekpoint"]', "torch.checkpoint"),
        (HEAD + GRID + 'dtype = ["float46"]', "float64"),
    ],
)
def test_a_name_that_is_nearly_right_is_told_what_it_may_mean(tmp_path, text, meant):
    with pytest.raises(ValueError, match=rf"; did you mean {re.escape(meant)}\?$"):
        load(tmp_path, text)


def test_of_many_problems_the_first_are_told(tmp_path):
    with pytest.raises(ValueError, match="batch") as caught:
        load(tmp_path, HEAD + GRID.replace("[4]", str([0] * 1000)))
    *told, last = str(caught.value).splitlines()
    assert len(told) == 20
    assert last == f"{tmp_path}/experiment.toml: and 980 more problems"


def test_the_largest_numbers_are_taken(tmp_path):
    text = GRID.replace("[4]", f"[1, {2**40}]") + f"seed = [{LARGEST}]\ncheckpoint_frequency = [{LARGEST}]\n"
    cells = load(tmp_path, HEAD + text + f'schedule = ["revolve(slots={LARGEST})"]').cells()
    assert len(cells) == 6
    for cell in cells:
        trace = trace_of(cell)
        assert (
            0 < max(trace.peak_bytes, trace.forward_flops, needed_bytes(Job(measure="memory", cells=(cell,)))) < 2**63
        )


@given(st.data())
def test_the_cells_of_a_grid_are_counted_without_making_them(data):
    def some(*values, least=1):
        return data.draw(st.lists(st.sampled_from(values), min_size=least, max_size=3))

    dimensions = {
        "layers": some("8,4,3", "8,4x2,3"),
        "batch": some(4, 5),
        "network": data.draw(
            st.lists(st.sampled_from(["Network", "NetworkWithCheckpointing"]), min_size=1, unique=True)
        ),
        "schedule": some("sqrt()", "revolve(slots=2)", least=0),
        "step": ["backward", *some("train_step")],
        "micro_batch": some(1, 2, least=0),
        "peer": some("torch.store-all", "jax.scan_checkpoint", least=0),
        "seed": some(0, 1),
    }
    if data.draw(st.booleans()):
        dimensions |= {"checkpoint_frequency": some(1, 2, 3), "recompute": some("segment", "each")}
    grid = Grid(**dimensions)
    assert grid.size == len(list(grid.cells()))


def test_every_problem_of_a_file_is_told_at_once(tmp_path):
    with pytest.raises(ValueError, match="batch") as caught:
        load(tmp_path, HEAD + GRID.replace("[4]", "[0, -3]") + "seed = [-1]")
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: None, lambda path: path.write_bytes(b"\xff")])
def test_what_is_no_text_file_is_one_line(tmp_path, make):
    path = tmp_path / "experiment.toml"
    make(path)
    with pytest.raises(ValueError, match=r"cannot be read|is not TOML") as caught:
        Experiment.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["...toml", "..toml", ".toml", ".hidden.toml", "a\nb.toml", "a\x1b[31m.toml", "a\udcff.toml"]
)
def test_a_name_that_is_no_plain_file_name_is_refused_before_it_is_read(tmp_path, name):
    with pytest.raises(ValueError, match=r"an experiment's file must be named like growth\.toml") as caught:
        Experiment.load(tmp_path / name)
    assert str(caught.value).isprintable()
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("name", ["growth.toml", "a b.toml", "größe.toml", "v1.2.toml", "-x.toml"])
def test_a_plain_name_is_that_of_the_results(tmp_path, name):
    (tmp_path / name).write_text(HEAD + GRID)
    assert f"{Experiment.load(tmp_path / name).name}.toml" == name


def test_the_grid_is_every_combination_once_store_all_beside_its_variants(tmp_path):
    grid = '[grid]\nlayers = ["4,3,3,2", "4,3x2,2"]\nbatch = [5, 6]\ncheckpoint_frequency = [1, 2, 1]\n'
    cells = load(tmp_path, HEAD + grid + 'recompute = ["each"]').cells()
    assert [(cell.layers, cell.batch, cell.checkpoint_frequency, cell.recompute) for cell in cells] == [
        ("4,3x2,2", 5, None, None),
        ("4,3x2,2", 5, 1, "each"),
        ("4,3x2,2", 5, 2, "each"),
        ("4,3x2,2", 6, None, None),
        ("4,3x2,2", 6, 1, "each"),
        ("4,3x2,2", 6, 2, "each"),
    ]


def variants(tmp_path, text):
    return [cell.variant for cell in load(tmp_path, HEAD + text).cells()]


def test_schedules_stand_beside_frequencies_and_alone_where_no_frequency_is_given(tmp_path):
    schedules = 'schedule = ["sqrt()", "revolve( slots = 2 )", "revolve(slots=2)"]\n'
    assert variants(tmp_path, GRID + schedules) == ["store-all", "sqrt()", "revolve(slots=2)"]
    both = variants(tmp_path, GRID + schedules + "checkpoint_frequency = [3]")
    assert both == ["store-all", "checkpoint_frequency=3 recompute=segment", "sqrt()", "revolve(slots=2)"]


def test_each_variant_is_run_by_each_step_and_in_parts(tmp_path):
    steps = 'step = ["backward", "train_step"]\nmicro_batch = [1, 2]\n'
    store_all = ["store-all", "store-all train_step", "store-all micro_batch=1", "store-all micro_batch=2"]
    name = "checkpoint_frequency=2 recompute=segment"
    checkpointed = [name, f"{name} train_step", f"{name} micro_batch=1", f"{name} micro_batch=2"]
    assert variants(tmp_path, GRID + steps) == store_all + checkpointed
    jobs = load(tmp_path, HEAD.replace("memory", "time") + GRID + steps).jobs()
    assert [len(job.cells) for job in jobs] == [8]


def test_training_is_by_train_step_whatever_else_is_measured(tmp_path):
    (job,) = load(tmp_path, TRAINING + GRID).jobs()
    assert [cell.step for cell in job.cells] == ["train_step"] * len(job.cells)


def test_several_grids_are_one_experiment_each_with_its_own_schedules(tmp_path):
    first = GRID.replace("[grid]", "[[grid]]")
    second = first.replace("64,128,10", "64,128x2,10") + 'schedule = ["sqrt()"]\n'
    cells = load(tmp_path, HEAD.replace("memory", "time") + first + first + second).jobs()
    assert [[(cell.layers, cell.variant) for cell in job.cells] for job in cells] == [
        [("64,128,10", "store-all"), ("64,128,10", "checkpoint_frequency=2 recompute=segment")],
        [("64,128x2,10", "store-all"), ("64,128x2,10", "sqrt()")],
    ]


def test_what_is_compared_is_measured_in_one_job_and_memory_cell_by_cell(tmp_path):
    text = HEAD.replace('"memory"', '"time", "memory"') + GRID + "checkpoint_frequency = [1, 2]\nseed = [0, 1]"
    experiment = load(tmp_path, text + "\n[time]\nrepeats = 21")
    jobs = [(job.measure, len(job.cells), dict(job.settings)) for job in experiment.jobs()]
    assert jobs == [("memory", 1, {})] * 6 + [("time", 3, {"repeats": 21, "order_seed": 0})] * 2


def test_peers_stand_beside_their_store_all_each_at_every_frequency_that_it_takes(tmp_path):
    text = GRID + 'checkpoint_frequency = [2, 4]\npeer = ["torch.store-all", "jax.scan_checkpoint"]'
    cells = load(tmp_path, PEERS + text).cells()
    assert [(cell.framework, cell.variant) for cell in cells] == [
        ("networks", "store-all"),
        ("networks", "checkpoint_frequency=2 recompute=segment"),
        ("networks", "checkpoint_frequency=4 recompute=segment"),
        ("torch", "store-all"),
        ("jax", "scan_checkpoint checkpoint_frequency=2"),
        ("jax", "scan_checkpoint checkpoint_frequency=4"),
    ]
    assert {cell.store_all for cell in cells} == {cells[0]}


def test_resident_memory_is_taken_under_each_allocator(tmp_path):
    text = PEERS.replace("peers_memory", "resident") + GRID + "[resident]\nrepeats = 5"
    settings = [dict(job.settings) for job in load(tmp_path, text).jobs()]
    assert settings == 2 * [
        {"repeats": 5, "allocator": "glibc"},
        {"repeats": 5, "allocator": "glibc_fixed_threshold"},
    ]


def test_the_figures_an_experiment_may_name_are_those_that_can_be_drawn():
    assert [recipe(name).name for name in FIGURES] == list(FIGURES)


@pytest.mark.parametrize("path", sorted(PROJECT.glob("experiments/*.toml")), ids=lambda path: path.stem)
def test_the_projects_own_experiments_are_valid(path):
    experiment = Experiment.load(path)
    assert experiment.name == path.stem
    assert experiment.jobs()


def test_a_schedule_whose_name_does_not_make_it_again_is_refused(tmp_path, monkeypatch):
    def fraction():
        def schedule(chain):
            return lambda cached, start, stop: {0, *cached}

        return schedule

    monkeypatch.setitem(FACTORIES, "fraction", fraction)
    with pytest.raises(ValueError, match=r"fraction\(\): the schedule's __name__ must be the call that makes it"):
        load(tmp_path, HEAD + GRID + 'schedule = ["fraction()"]')
