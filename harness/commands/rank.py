"""The rank command: the work of each schedule over the optimum's, within each budget."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.analysis.each_row import each_row
from harness.commands.console import new_console
from harness.commands.names import find_results, path_given
from harness.commands.tables import Key, TextRow, aligned, folded
from harness.experiment.tables import RANKING
from harness.files import format_json, write_atomically
from harness.results.datapackage import sha256_of, table_schema
from harness.results.folder import Results, read_results
from harness.sizes import MIB
from networks.wording import shown

if TYPE_CHECKING:
    import pandas as pd

MOST_COLUMNS = 80
"""Characters of a line at most, on a wider page, too."""
BUDGETS_IN_A_ROW = 8
NOT_FITTING = "-"
EXPLAINED = (
    "Forward work over the optimum's, by dry run; budgets of a step's peak in MiB.",
    f"{NOT_FITTING}: does not fit. *: the best; a tie goes to optimal.",
)


def command(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", parser=path_given, help="A folder that `run` wrote.")],
    file_format: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="table, csv, markdown or latex.")
    ] = "table",
) -> None:
    """Rank the schedules of an experiment by their work within each budget, over the optimum's work.

    The budgets are those of the experiment's `optimal` schedules. Each kind is ranked by its best schedule that
    fits. The candidates are the schedules of the measured cells. A schedule that takes a budget is also tried at every
    budget, by a dry run. Geometric means are over the chains and budgets where all kinds fit. The ranking is also
    written to RESULTS/ranking.csv, with its schema in ranking.schema.json.
    """
    from harness.analysis.ranking import ranking  # imports pandas

    if file_format not in FORMATS:
        raise ValueError(f"--format must be one of {', '.join(FORMATS)}, got {shown(file_format)}")
    published = read_results(find_results(results))
    tables = published.tables(("memory",))
    if "memory" not in tables:
        raise ValueError(f"{published.folder}: holds no memory.csv; run an experiment that measures memory first")
    memory = tables["memory"]
    table = ranking(memory[memory["status"] == "ok"])
    content = _csv(table)
    _write(published, content)
    if file_format == "csv":
        print(content, end="")
        return
    for part in FORMATS[file_format](table):
        new_console().print(part)


def _csv(table: "pd.DataFrame") -> str:
    told = table[list(RANKING.names)].astype(object)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, RANKING.names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(each_row(told.where(told.notna(), "")))
    return text.getvalue()


def _write(published: Results, content: str) -> None:
    """Write the ranking beside the tables, and its schema, which names the table that it was made from."""
    made_from = {"memory.csv": sha256_of(published.contents["memory"])}
    schema = {**table_schema(RANKING), "description": RANKING.description, "madeFrom": made_from}
    write_atomically(published.folder / "ranking.csv", content.encode())
    write_atomically(published.folder / "ranking.schema.json", format_json(schema))


def _blocks(table: "pd.DataFrame") -> Iterator[tuple[str, list[TextRow]]]:
    """A heading and the lines of each chain, as many budgets side by side as fit 80 columns. The means come last."""
    from harness.analysis.baseline import COMPARED
    from harness.analysis.ranking import means

    for _, rows in table.groupby(COMPARED, sort=False):
        first = rows.iloc[0]
        heading = f"{first['chain']} [{first['layers']}], batch {first['batch']}, {first['dtype']}"
        words = {(cell["kind"], cell["budget_bytes"]): _words(cell) for cell in each_row(rows)}
        budgets = sorted(rows["budget_bytes"].unique())
        for start in range(0, len(budgets), BUDGETS_IN_A_ROW):
            names = _name_budgets(budgets[start : start + BUDGETS_IN_A_ROW])
            yield (
                heading,
                [
                    {"schedule": kind} | {name: words[kind, budget] for budget, name in names.items()}
                    for kind in table["kind"].cat.categories
                ],
            )
    over, cases = means(table)
    if cases:
        heading = f"geometric means over the {cases} pairs of chain and budget where all fit"
        yield heading, [{"schedule": str(kind), "mean": f"{mean:.3f} "} for kind, mean in over.items()]


def _name_budgets(budgets: Sequence[int]) -> dict[int, str]:
    """Each budget in MiB, with two digits, or with more if two budgets would look equal."""
    for digits in (2, 4, 8):
        names = {budget: f"{budget / MIB:.{digits}f}" for budget in budgets}
        if len(set(names.values())) == len(names):
            break
    return names


def _words(cell: Mapping[str, Any]) -> str:
    if cell["fits"] == "no":
        return f"{NOT_FITTING} "
    return f"{cell['over_optimum']:.2f}{'*' if cell['place'] == 1 else ' '}"


def _as_table(table: "pd.DataFrame") -> Iterator[str]:
    key, width = Key(), min(MOST_COLUMNS, new_console().width)
    yield "\n".join(EXPLAINED)
    for heading, lines in _blocks(table):
        yield f"\n{folded(heading, width)}\n\n{aligned(lines, left=['schedule'], width=width, key=key)}"
    if key.lines(width):
        yield "\n" + "\n".join(key.lines(width))


def _as_markdown(table: "pd.DataFrame") -> Iterator[str]:
    yield " ".join(EXPLAINED)
    for heading, lines in _blocks(table):
        rows = [list(lines[0]), [":--", *["--:"] * (len(lines[0]) - 1)], *(list(line.values()) for line in lines)]
        written = (" | ".join(cell.strip().replace("|", "/") for cell in row) for row in rows)
        yield f"\n{heading}\n\n" + "\n".join(f"| {row} |" for row in written)


def _as_latex(table: "pd.DataFrame") -> Iterator[str]:
    r"""A `tabular` for each chain, which needs \usepackage{booktabs}."""
    yield "\n".join(f"% {line}" for line in EXPLAINED)
    for heading, lines in _blocks(table):
        rows = [_latex_row(line.values()) for line in lines]
        head = _latex_row(lines[0])
        body = "\n".join([r"\toprule", head, r"\midrule", *rows, r"\bottomrule"])
        columns = "l" + "r" * (len(lines[0]) - 1)
        yield f"\n% {heading}\n\\begin{{tabular}}{{{columns}}}\n{body}\n\\end{{tabular}}"


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join(_latex_text(cell.strip()) for cell in cells) + r" \\"


def _latex_text(text: str) -> str:
    if text.endswith("*"):
        return rf"\textbf{{{text[:-1]}}}"
    if text == NOT_FITTING:
        return "--"
    return "".join(LATEX.get(character, character) for character in text)


LATEX = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}

FORMATS: Mapping[str, Callable[["pd.DataFrame"], Iterator[str]]] = {
    "table": _as_table,
    "csv": lambda table: iter([_csv(table)]),
    "markdown": _as_markdown,
    "latex": _as_latex,
}
