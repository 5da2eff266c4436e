"""What a table is made of: columns, each with its type, its unit, what it means, and when it is filled.

Plain data, read by the store that writes the tables, by the schemas that validate them, and by whoever reads the
`datapackage.json` beside them (https://datapackage.org, with `unit` added to each field that has one).
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Literal

from harness.experiment.frameworks import FRAMEWORKS, OWN
from networks.chain import LARGEST
from networks.wording import shown

CLOCK_TICK = 1e-9
"""Seconds: the least that the clock can tell, so that nothing that was timed took less."""

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
    """One table: no two rows of status ok agree in all columns of `key`. `of_cell` tell the cell and its status."""

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
        """The columns that a dry run of the cell fills. A model of the user's has none: its worker predicts."""
        of_networks = "network" in self.of_cell
        found = (name for name in self.names if name.startswith("predicted_") or name == "residual_bytes")
        return tuple(found) if of_networks else ()

    def column(self, name: str) -> Column:
        """The column of this name."""
        return next(column for column in self.columns if column.name == name)

    def mixed(self) -> "Table":
        """The same table, whose rows were allowed to come from different machines or versions of the code."""
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
    """A column of numbers of at least 0 without a unit."""
    return Column(name=name, description=description, type="number", minimum=0, **options)


_KEY = (
    text("cell_id", "Names the cell: a hash of all its parameters.", filled="always"),
    text(
        "network",
        "Class of the network; Network is store-all.",
        filled="always",
        values=("Network", "NetworkWithCheckpointing"),
    ),
    text("layers", "Widths from the inputs to the classes; 128x32 is 32 times 128.", filled="always"),
    count("depth", "Number of layers, L.", filled="always", minimum=1),
    count("width", "Width of the widest hidden layer, 0 without one.", filled="always"),
    count("batch", "Rows of the input.", filled="always", minimum=1),
    text("dtype", "Of parameters, afters and deltas.", filled="always", values=("float32", "float64")),
    text("activation", "Of the hidden layers.", filled="always", values=("relu", "sigmoid", "tanh")),
    count("checkpoint_frequency", "Every n-th after is saved.", filled="sometimes", minimum=1),
    text(
        "recompute",
        "Whether a recalculated segment is kept until used, or each after recalculated by itself.",
        filled="sometimes",
        values=("segment", "each"),
    ),
    text("schedule", "The schedule, if it is not told by checkpoint_frequency.", filled="sometimes"),
    text(
        "step",
        "How the step ends: with all parameter deltas, or with each layer updated as soon as its own are known.",
        filled="always",
        values=("backward", "train_step"),
    ),
    count("micro_batch", "Most rows of a part, where the batch is run in parts.", filled="sometimes", minimum=1),
    count("seed", "Of the initial weights and of the data.", filled="always"),
    text("status", "ok, or why there is no measurement.", filled="always", values=STATUSES),
)
_FRAMEWORK = (
    text("framework", "What ran the step; networks are this project's.", filled="always", values=(OWN, *FRAMEWORKS)),
    text("variant", "How it trains, by the framework's own word.", filled="always"),
)
_ERROR = text("error", "What went wrong; empty if nothing did.", filled="sometimes")

PROVENANCE = text("provenance", "Names what the row comes from, told in environment.json.", filled="always")

_MODEL_KEY = (
    _KEY[0],
    text("model", "The model's file and the function that makes it.", filled="always"),
    text("blocks", "How it is cut: a path or auto; empty for what the function says.", filled="sometimes"),
    text("variant", "plain autograd, one of PyTorch's own ways, or planned: ours.", filled="always"),
    text("budget", "Of a planned step: a size, or a share of the way from the smallest to plain.", filled="sometimes"),
    text("gradients", "Kept to the end of the step, or freed as they come.", filled="always", values=("kept", "freed")),
    _KEY[-1],
)

KEY_COLUMNS, MODEL_KEY_COLUMNS = (tuple(column.name for column in key) for key in (_KEY, _MODEL_KEY))
"""The first columns of tables of networks, and of models of the user's; the rest of a row is what was measured."""

FRAMEWORK_COLUMNS = tuple(column.name for column in _FRAMEWORK)
"""Beside them in the tables that hold several frameworks."""


def configuration(*names: str) -> tuple[Column, ...]:
    """Those of the key's columns that have these names."""
    return tuple(column for column in _KEY if column.name in names)


def own_table(name: str, description: str, *, key: tuple[str, ...] = (), columns: tuple[Column, ...]) -> Table:
    """A table of this project's own cells, whose rows `key` tells apart within a cell."""
    return Table(name, description, ("cell_id", *key), (*_KEY, *columns, _ERROR), KEY_COLUMNS)


def models_table(name: str, description: str, *, key: tuple[str, ...] = (), columns: tuple[Column, ...]) -> Table:
    """A table of models of the user's, whose rows `key` tells apart within a cell."""
    return Table(name, description, ("cell_id", *key), (*_MODEL_KEY, *columns, _ERROR), MODEL_KEY_COLUMNS)


def peers_table(
    name: str, description: str, *, key: tuple[str, ...] = (), columns: tuple[Column, ...], own: Collection[str] = ()
) -> Table:
    """A table of other frameworks' cells, too: they have no class of ours, and lack the columns in `own`."""
    lacking = {"network", *own}
    told = (
        replace(column, filled="sometimes") if column.name in lacking else column
        for column in (*_KEY, *_FRAMEWORK, *columns)
    )
    of_cell = (*KEY_COLUMNS, *FRAMEWORK_COLUMNS)
    return Table(name, description, ("cell_id", *key), (*told, _ERROR), of_cell)


def within_64_bits(value: int) -> bool:
    """Whether every program can read an integer of a table."""
    return -LARGEST - 1 <= value <= LARGEST
