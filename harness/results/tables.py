"""Every column of every table that the harness writes: its type, its unit, what it means, and when it is filled.

Plain data, read by the store that writes the tables, by the schemas that validate them, and by whoever reads the
`datapackage.json` beside them (https://datapackage.org, with `unit` added to each field that has one).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from harness.experiment.frameworks import FRAMEWORKS, OWN
from networks.wording import shown

SCHEMA_VERSION = 2

CLOCK_TICK = 1e-9
"""Seconds: the least that the clock can tell, so that nothing that was timed took less."""

ALLOCATORS = ("glibc", "glibc_fixed_threshold")
STATUSES = ("ok", "failed", "timeout", "out_of_memory", "killed", "skipped_too_large")
"""What may become of a cell; `error` says more of all but the first, and the last was never started."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        type: the name of a Frictionless field type.
        unit: `byte`, `second` or `operation`; empty for counts, names and shares.
        filled: in every row, in every row of status ok, or only where there is something to say.
        minimum: the least value, if there is one.
        finite: whether it must be a number where it stands for one; a loss that diverges is none.
        values: all values there are, if they are few.
    """

    name: str
    description: str
    type: Literal["string", "integer", "number"] = "string"
    unit: str = ""
    filled: Literal["always", "if ok", "sometimes"] = "if ok"
    minimum: float | None = None
    finite: bool = True
    values: tuple[str, ...] = ()

    def problem(self, value: Any) -> str:
        """What is wrong with a value of this column, as JSON has it; empty where nothing is."""
        kind, types = _TYPES[self.type]
        if type(value) not in types:
            must = kind
        elif isinstance(value, str) and not value.isprintable():
            must = "one line"
        elif isinstance(value, int) and not within_64_bits(value):
            must = "an integer of 64 bits"
        elif self.minimum is not None and value < self.minimum:
            must = f"at least {self.minimum}"
        elif self.values and value not in self.values:
            must = f"one of {', '.join(self.values)}"
        else:
            return ""
        return f"must be {must}, got {shown(value)}"


_TYPES = {"string": ("text", (str,)), "integer": ("an integer", (int,)), "number": ("a number", (int, float))}


@dataclass(frozen=True)
class Table:
    """One table: no two rows of status ok agree in all columns of `key`."""

    name: str
    description: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        """The column of this name."""
        return next(column for column in self.columns if column.name == name)

    def mixed(self) -> "Table":
        """The same table, whose rows were allowed to come from different machines or versions of the code."""
        return replace(self, columns=(*self.columns, PROVENANCE))


def _text(name: str, description: str, **options: Any) -> Column:
    return Column(name=name, description=description, **options)


def _count(name: str, description: str, *, minimum: int = 0, **options: Any) -> Column:
    return Column(name=name, description=description, type="integer", minimum=minimum, **options)


def _bytes(name: str, description: str, *, minimum: int | None = 0, **options: Any) -> Column:
    return Column(name=name, description=description, type="integer", unit="byte", minimum=minimum, **options)


def _seconds(name: str, description: str, **options: Any) -> Column:
    return Column(name=name, description=description, type="number", unit="second", minimum=CLOCK_TICK, **options)


def _share(name: str, description: str, **options: Any) -> Column:
    return Column(name=name, description=description, type="number", minimum=0, **options)


_KEY = (
    _text("cell_id", "Names the cell: a hash of all its parameters.", filled="always"),
    _text(
        "network",
        "Class of the network; Network is store-all.",
        filled="always",
        values=("Network", "NetworkWithCheckpointing"),
    ),
    _text("layers", "Widths from the inputs to the classes; 128x32 is 32 times 128.", filled="always"),
    _count("depth", "Number of layers, L.", filled="always", minimum=1),
    _count("width", "Width of the widest hidden layer, 0 without one.", filled="always"),
    _count("batch", "Rows of the input.", filled="always", minimum=1),
    _text("dtype", "Of parameters, afters and deltas.", filled="always", values=("float32", "float64")),
    _text("activation", "Of the hidden layers.", filled="always", values=("relu", "sigmoid", "tanh")),
    _count("checkpoint_frequency", "Every n-th after is saved.", filled="sometimes", minimum=1),
    _text(
        "recompute",
        "Whether a recalculated segment is kept until used, or each after recalculated by itself.",
        filled="sometimes",
        values=("segment", "each"),
    ),
    _text("schedule", "The schedule, if it is not told by checkpoint_frequency.", filled="sometimes"),
    _text(
        "step",
        "How the step ends: with all parameter deltas, or with each layer updated as soon as its own are known.",
        filled="always",
        values=("backward", "train_step"),
    ),
    _count("micro_batch", "Most rows of a part, where the batch is run in parts.", filled="sometimes", minimum=1),
    _count("seed", "Of the initial weights and of the data.", filled="always"),
    _text("status", "ok, or why there is no measurement.", filled="always", values=STATUSES),
)
_FRAMEWORK = (
    _text("framework", "What ran the step; networks are this project's.", filled="always", values=(OWN, *FRAMEWORKS)),
    _text("variant", "How it trains, by the framework's own word.", filled="always"),
)
_ERROR = _text("error", "What went wrong; empty if nothing did.", filled="sometimes")

PROVENANCE = _text("provenance", "Names what the row comes from, told in environment.json.", filled="always")

KEY_COLUMNS = tuple(column.name for column in _KEY)
"""The first columns of every table; the rest of a row is what was measured."""

FRAMEWORK_COLUMNS = tuple(column.name for column in _FRAMEWORK)
"""Beside them in the tables that hold several frameworks."""


def _table(name: str, description: str, *, key: tuple[str, ...], columns: tuple[Column, ...]) -> Table:
    return Table(name, description, ("cell_id", *key), (*_KEY, *columns, _ERROR))


def _peers_table(name: str, description: str, *, key: tuple[str, ...], columns: tuple[Column, ...]) -> Table:
    """One that holds other frameworks' cells too: they have no class of ours, and no tracker."""
    columns = tuple(_sometimes(column) for column in (*_KEY, *_FRAMEWORK, *columns))
    return Table(name, description, ("cell_id", *key), (*columns, _ERROR))


def _sometimes(column: Column) -> Column:
    return replace(column, filled="sometimes") if column.name in _OURS else column


_MEMORY = (
    _count("forward_steps", "Layer forwards executed in the step; store-all needs L.", filled="always"),
    _count("forward_flops", "Floating-point operations of their products.", filled="always", unit="operation"),
    _count("hits", "Requests for an after that was resident.", filled="always"),
    _count("misses", "Requests for an after that had to be recomputed.", filled="always"),
    _count("peak_cached_layers", "Most afters that the schedule held at once, the input not counted.", filled="always"),
    _bytes("predicted_peak_bytes", "Peak of the step by dry run.", filled="always", minimum=1),
    _bytes("predicted_forward_peak_bytes", "Peak of the forward pass by dry run.", filled="always"),
    _bytes("predicted_backward_peak_bytes", "Peak of the backward pass by dry run.", filled="always"),
    _bytes("tracker_peak_bytes", "Peak of the step by the executed network's tracker.", minimum=1),
    _bytes("memray_peak_bytes", "Peak of requested bytes during the step, measured by memray.", minimum=1),
    _bytes("memray_forward_peak_bytes", "Peak of the forward pass, measured by memray.", minimum=1),
    _bytes("memray_backward_peak_bytes", "Peak of the backward pass, measured by memray.", minimum=1),
    _bytes("residual_bytes", "memray_peak_bytes less predicted_peak_bytes.", minimum=None),
    _bytes("memray_activation_buffers_bytes", "Part of memray's peak: afters and deltas."),
    _bytes("memray_parameter_deltas_bytes", "Part of memray's peak: gradients of weights and biases."),
    _bytes("memray_workspace_bytes", "Part of memray's peak: scratch of a pass."),
    _bytes("memray_other_bytes", "Part of memray's peak: all else, such as the interpreter's own objects."),
    _bytes("tracker_checkpoints_bytes", "Part of the tracker's peak: afters that the schedule keeps."),
    _bytes("tracker_working_afters_bytes", "Part of the tracker's peak: all other afters, outputs included."),
    _bytes("tracker_deltas_bytes", "Part of the tracker's peak: gradients at the layers' outputs."),
    _bytes("tracker_parameter_deltas_bytes", "Part of the tracker's peak: gradients of weights and biases."),
    _bytes("tracker_workspace_bytes", "Part of the tracker's peak: scratch of a pass."),
)

_OURS = {"network", "forward_seconds", "backward_seconds", *(column.name for column in _MEMORY)} - {
    "memray_peak_bytes",
}
"""Columns of measures that other frameworks' steps share, and that are empty where a framework does not tell."""

_EVIDENCE = (
    _share("gradient_error", "Largest distance of a layer's gradient from ours over its norm, in the measured step."),
    _share("gradient_error_double", "The same in double precision on at most 64 rows, at most 1e-4."),
    _count("executed_products", "Matrix products that the step executes, recomputed ones included."),
    _count(
        "activation_blocks_at_peak", "Live blocks at memray's peak as large as an after of the widest hidden layer."
    ),
    _bytes("compiler_temporary_bytes", "Beside arguments and results, as its compiler says.", filled="sometimes"),
)

_RESIDENT = (
    _text("allocator", "glibc's malloc, or the same with a fixed mmap threshold.", values=ALLOCATORS),
    _count("repeat", "Number of the step, from 0."),
    _bytes(
        "resident_before_bytes", "Resident memory of the process before the step, freed memory given back.", minimum=1
    ),
    _bytes("resident_peak_bytes", "How far resident memory rose above that during the step.", minimum=None),
)

_TIMELINE = (
    _count("event", "Number of the event in the step, from 0."),
    _text("phase", "Pass in which it happens: forward or backward."),
    _text("action", "What happens to the layer's after, delta or parameter deltas."),
    _count("layer", "The layer, from 1; 0 is the input, or the pass itself."),
    _bytes("bytes", "Change of the live bytes.", minimum=None),
    _bytes("live_bytes", "Live after the event, by the tracker."),
    _bytes("memray_live_bytes", "Live at the event, by memray."),
)

_CPU = _count("cpu", "Processor that the process was kept on; empty where that is not allowed.", filled="sometimes")

_TIME = (
    _count("repeat", "Number of the round, from 0; every variant is timed once a round."),
    _count("position", "Place in the shuffled order of all timings of the process, from 0."),
    _count("loops", "Steps of this sample, of which the seconds are the mean.", minimum=1),
    _CPU,
    _seconds("forward_seconds", "Of the forward pass, where the step is one of each pass.", filled="sometimes"),
    _seconds("backward_seconds", "Of the backward pass, likewise.", filled="sometimes"),
    _seconds("step_seconds", "Of both, and of the update that a train_step includes."),
)

_PEERS_TIME = (
    *_TIME,
    _seconds("floor_seconds", "Of the bare matrix products that the step executes, by the framework's own routine."),
    _count("repeats", "How many the cell has: fewer than asked for where its steps take seconds.", minimum=1),
)

_TRAINING = (
    _count("epoch", "Number of the epoch, from 1.", minimum=1),
    _CPU,
    _share(
        "train_loss",
        "Mean cross-entropy over the epoch's mini-batches; not a number if training diverged.",
        finite=False,
    ),
    _share("train_accuracy", "Share of the training rows that are classified rightly."),
    _share("test_loss", "Mean cross-entropy over the test rows after the epoch, likewise.", finite=False),
    _share("test_accuracy", "Share of the test rows that are classified rightly after the epoch."),
    _seconds("epoch_seconds", "Of the epoch's training, the test left out."),
)

TABLES: Mapping[str, Table] = {
    table.name: table
    for table in (
        _table("memory", "Peak memory of one training step, a row a cell.", key=(), columns=_MEMORY),
        _table("timeline", "Live bytes over one training step, a row an event.", key=("event",), columns=_TIMELINE),
        _peers_table("peers_memory", "memory, of several frameworks.", key=(), columns=(*_MEMORY, *_EVIDENCE)),
        _peers_table("resident", "Resident peaks, a row a repeat.", key=("allocator", "repeat"), columns=_RESIDENT),
        _table("time", "Seconds of a training step, a row a repeat.", key=("repeat",), columns=_TIME),
        _peers_table("peers_time", "time, of several frameworks.", key=("repeat",), columns=_PEERS_TIME),
        _table("training", "Learning the digits, a row an epoch.", key=("epoch",), columns=_TRAINING),
    )
}
"""By name, which is also the measure's, and the CSV file's without `.csv`."""


def table_of(name: str, content: bytes) -> Table:
    """The table that is in `content`, that of a CSV file of this name."""
    header, _, _ = content.partition(b"\n")
    return TABLES[name].mixed() if header.endswith(f",{PROVENANCE.name}".encode()) else TABLES[name]


def within_64_bits(value: int) -> bool:
    """Whether every program can read an integer of a table."""
    return -(2**63) <= value < 2**63
