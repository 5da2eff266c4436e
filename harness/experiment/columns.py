"""The columns of tables: each has a name, a type, a unit, a meaning, and a rule that says when it is filled.

The store writes tables by these columns, and the schemas validate tables by them. Users read them in the
`datapackage.json` beside the tables (https://datapackage.org; a field with a unit also has `unit`).
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Literal

from harness.experiment.frameworks import FRAMEWORKS, OWN
from networks.chain import LARGEST
from networks.wording import shown

CLOCK_TICK = 1e-9
"""Seconds: the smallest time that the clock can tell. No measured time is less."""

STATUSES = ("ok", "failed", "timeout", "out_of_memory", "killed", "skipped_too_large")
"""How a cell can end. A cell that is not ok has an `error`. A cell that is skipped_too_large was never started."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        type: the name of a Frictionless field type.
        unit: `byte`, `second` or `operation`; empty for counts, names and shares.
        filled: in every row, in every row of status ok, or only in some rows.
        minimum: the smallest allowed value, if there is one.
        finite: whether infinity and nan are refused. The loss of a training that diverges is nan.
        values: all allowed values, if they are few.
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
        """Say what is wrong with a JSON value of this column. Empty if nothing is wrong."""
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
    """One table.

    Attributes:
        key: two rows of status ok differ in at least one of these columns.
        of_cell: the columns that identify the cell, and its status.
    """

    name: str
    description: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    of_cell: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def predicted(self) -> tuple[str, ...]:
        """The columns that a dry run of the cell fills. A user's model has none, because its worker predicts."""
        of_networks = "network" in self.of_cell
        found = (name for name in self.names if name.startswith("predicted_") or name == "residual_bytes")
        return tuple(found) if of_networks else ()

    def column(self, name: str) -> Column:
        """The column of this name."""
        return next(column for column in self.columns if column.name == name)

    def mixed(self) -> "Table":
        """The same table for rows of different machines or versions of the code: each row names its origin."""
        return replace(self, columns=(*self.columns, PROVENANCE))


def text(name: str, description: str, **options: Any) -> Column:
    """A column of words."""
    return Column(name=name, description=description, **options)


def count(name: str, description: str, *, minimum: int = 0, **options: Any) -> Column:
    """A column of whole numbers."""
    return Column(name=name, description=description, type="integer", minimum=minimum, **options)


def nbytes(name: str, description: str, *, minimum: int | None = 0, **options: Any) -> Column:
    """A column of bytes."""
    return Column(name=name, description=description, type="integer", unit="byte", minimum=minimum, **options)


def seconds(name: str, description: str, **options: Any) -> Column:
    """A column of times, each at least a tick of the clock."""
    return Column(name=name, description=description, type="number", unit="second", minimum=CLOCK_TICK, **options)


def share(name: str, description: str, **options: Any) -> Column:
    """A column of numbers without a unit, at least 0."""
    return Column(name=name, description=description, type="number", minimum=0, **options)


_KEY = (
    text("cell_id", "Identifies the cell: a hash of all its parameters.", filled="always"),
    text(
        "network",
        "Class of the network. Network is store-all.",
        filled="always",
        values=("Network", "NetworkWithCheckpointing"),
    ),
    text("layers", "Widths from the inputs to the classes. 128x32 is the width 128, 32 times.", filled="always"),
    count("depth", "Number of layers, L.", filled="always", minimum=1),
    count("width", "Width of the widest hidden layer. 0 if there is none.", filled="always"),
    count("batch", "Rows of the input.", filled="always", minimum=1),
    text("dtype", "Type of parameters, layer outputs and gradients.", filled="always", values=("float32", "float64")),
    text(
        "activation", "Activation function of the hidden layers.", filled="always", values=("relu", "sigmoid", "tanh")
    ),
    count("checkpoint_frequency", "n: the step keeps every n-th layer output.", filled="sometimes", minimum=1),
    text(
        "recompute",
        "segment: a recomputed segment is held until it is used. each: every output is recomputed by itself.",
        filled="sometimes",
        values=("segment", "each"),
    ),
    text("schedule", "The schedule as a call. Empty if checkpoint_frequency says it.", filled="sometimes"),
    text(
        "step",
        "backward: ends with all weight gradients. train_step: updates each layer as soon as its own exist.",
        filled="always",
        values=("backward", "train_step"),
    ),
    count("micro_batch", "Most rows of a part, if the batch is run in parts.", filled="sometimes", minimum=1),
    count("seed", "Seed of the initial weights and of the data.", filled="always"),
    text("status", "ok, or why nothing was measured.", filled="always", values=STATUSES),
)
_FRAMEWORK = (
    text("framework", "What ran the step. networks is this project.", filled="always", values=(OWN, *FRAMEWORKS)),
    text("variant", "How it trains, in the framework's own word.", filled="always"),
)
_ERROR = text("error", "What went wrong. Empty if nothing did.", filled="sometimes")

PROVENANCE = text("provenance", "Names the origin of the row. environment.json describes it.", filled="always")

_MODEL_KEY = (
    _KEY[0],
    text("model", "The model's file and the function that makes it.", filled="always"),
    text("blocks", "How it is cut into blocks: a path, or auto. Empty if the function says it.", filled="sometimes"),
    text("variant", "plain: plain autograd. planned: our plan. All others are PyTorch's own ways.", filled="always"),
    text(
        "budget",
        "Budget of a planned step: a size, or a share of the way from the smallest budget to the peak of plain.",
        filled="sometimes",
    ),
    text(
        "gradients",
        "kept: until the step ends. freed: each as soon as it is complete.",
        filled="always",
        values=("kept", "freed"),
    ),
    _KEY[-1],
)

KEY_COLUMNS, MODEL_KEY_COLUMNS = (tuple(column.name for column in key) for key in (_KEY, _MODEL_KEY))
"""The first columns of tables of networks, and of tables of users' models. All other columns are measured."""

FRAMEWORK_COLUMNS = tuple(column.name for column in _FRAMEWORK)
"""The columns that tables of several frameworks have beside `KEY_COLUMNS`."""


def configuration(*names: str) -> tuple[Column, ...]:
    """The columns of the key with these names."""
    return tuple(column for column in _KEY if column.name in names)


def own_table(name: str, description: str, *, key: tuple[str, ...] = (), columns: tuple[Column, ...]) -> Table:
    """A table of this project's own cells. `key` tells the rows of one cell apart."""
    return Table(name, description, ("cell_id", *key), (*_KEY, *columns, _ERROR), KEY_COLUMNS)


def models_table(name: str, description: str, *, key: tuple[str, ...] = (), columns: tuple[Column, ...]) -> Table:
    """A table of users' models. `key` tells the rows of one cell apart."""
    return Table(name, description, ("cell_id", *key), (*_MODEL_KEY, *columns, _ERROR), MODEL_KEY_COLUMNS)


def peers_table(
    name: str, description: str, *, key: tuple[str, ...] = (), columns: tuple[Column, ...], own: Collection[str] = ()
) -> Table:
    """A table with cells of other frameworks as well. Those have no `network`, and may lack the columns in `own`."""
    lacking = {"network", *own}
    told = (
        replace(column, filled="sometimes") if column.name in lacking else column
        for column in (*_KEY, *_FRAMEWORK, *columns)
    )
    of_cell = (*KEY_COLUMNS, *FRAMEWORK_COLUMNS)
    return Table(name, description, ("cell_id", *key), (*told, _ERROR), of_cell)


def within_64_bits(value: int) -> bool:
    """Whether every program can read this integer in a table."""
    return -LARGEST - 1 <= value <= LARGEST
