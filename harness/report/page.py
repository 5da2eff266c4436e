"""The whole page: HTML with data and scripts inside. A browser fetches nothing."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from string import Template
from typing import Any

import altair as alt
import pandas as pd
import vl_convert

from harness.experiment.measures import table_of
from harness.report.charts import charts
from harness.report.drawn import Drawn
from harness.report.explorer import explored
from harness.report.findings import finding
from harness.report.looks import SHAPES
from harness.report.packing import columns_of, packed
from harness.report.raster import rasters
from harness.results.folder import Results

SCRIPTS = ("start.js", "table.js", "explorer.js", "raster.js", "page.js")


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A set of results for the page.

    Attributes:
        results: the set.
        description: the question of the experiment. Empty if its file is not known.
        folder: the folder's path, as a command takes it.
    """

    results: Results
    description: str
    folder: str

    @property
    def name(self) -> str:
        return self.results.environment.experiment.name


def page(sets: Sequence[Reported]) -> str:
    """Make the page of one or more sets, as HTML.

    Raises:
        ValueError: a table is damaged.
    """
    tables = {one.name: one.results.tables() for one in sets}
    finished = {name: _finished(of) for name, of in tables.items()}
    drawn = charts(finished)
    data = {
        "explorer": explored(finished.items()),
        "raster": rasters((one.results, finished[one.name]) for one in sets),
        "shapes": SHAPES,
        "charts": {one.name: {"spec": one.spec, "key": one.key} for one in drawn},
        "tables": [table for one in sets for table in _tables(one, tables[one.name])],
    }
    template = Template(_asset("page.html"))
    return template.substitute(
        style=_asset("page.css"),
        experiments="\n".join(_experiment(one, finished[one.name]) for one in sets),
        charts="\n".join(map(_figure, drawn)),
        provenance="\n".join(map(_provenance, sets)),
        vega=vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=_vega_lite_version()),
        data=packed(data),
        scripts="\n".join(map(_asset, SCRIPTS)),
    )


def _vega_lite_version() -> str:
    """The version of Vega-Lite that altair writes, such as 6.1."""
    major, minor, *_ = alt.SCHEMA_VERSION.removeprefix("v").split(".")
    return f"{major}.{minor}"


def _finished(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The finished cells of each table that has any."""
    finished = {name: table[table["status"] == "ok"].reset_index(drop=True) for name, table in tables.items()}
    return {name: table for name, table in finished.items() if len(table)}


def _asset(name: str) -> str:
    return resources.files("harness.report").joinpath("assets", name).read_text()


def _experiment(one: Reported, tables: Mapping[str, pd.DataFrame]) -> str:
    told = finding(tables, one.results.environment.experiment.figures)
    name, title = escape(one.name), escape(one.results.environment.experiment.title)
    question = f"<p>{_with_code(one.description)}</p>" if one.description else ""
    again = ""
    if "memory" in tables or "peers_memory" in tables:
        again = f"\nand compare: <code>python -m harness verify {escape(one.folder)}</code>"
    return f"""<article class="experiment" id="experiment-{name}">
<h3>{title}</h3>
{question}
<p class="number"><strong>{escape(told.number)}</strong> {escape(told.meaning)}</p>
<p class="finding">{escape(told.sentence)}</p>
<p class="repeat">Repeat it: <code>python -m harness run experiments/{name}.toml</code>{again}</p>
</article>"""


def _with_code(text: str) -> str:
    """Turn Markdown's `code` into HTML."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _figure(drawn: Drawn) -> str:
    name, title = escape(drawn.name), escape(drawn.title)
    return f"""<section class="chart" aria-labelledby="title-{name}">
<h3 id="title-{name}">{title}</h3>
<ul class="key"></ul>
<figure><div class="drawing" id="chart-{name}" data-chart="{name}" data-words="{escape(drawn.words)}"></div>
<figcaption>{escape(drawn.caption)} <span class="words">{escape(drawn.words)}</span></figcaption></figure>
</section>"""


def _tables(one: Reported, tables: Mapping[str, pd.DataFrame]) -> Iterator[dict[str, Any]]:
    for name, rows in tables.items():
        table = table_of(name, one.results.contents[name])
        yield {
            "experiment": one.name,
            "name": name,
            "about": table.description,
            "rows": len(rows),
            "columns": columns_of(table, rows),
        }


def _provenance(one: Reported) -> str:
    """The origin of all rows of a set: the main facts, and its whole environment.json."""
    environment = one.results.environment
    code = environment.code.model_dump()
    machine = environment.machine
    facts = {
        "code": f"commit {code.get('commit')}{', with changes' if code.get('dirty') else ''}",
        "processor": machine.get("cpu"),
        "system": machine.get("os"),
        "Python": machine.get("python"),
        "numpy": machine.get("numpy"),
        "memray": machine.get("memray"),
    }
    lines = "".join(f"<dt>{name}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items() if value)
    whole = escape(json.dumps(environment.model_dump(exclude_unset=True), indent=1))
    return f"""<details class="provenance"><summary>{escape(one.name)}</summary>
<dl>{lines}</dl>
<p>This holds for every row of the tables of {escape(one.name)}. If rows have several origins, their column
<code>provenance</code> names each row's.</p>
<details><summary>environment.json</summary><pre tabindex="0">{whole}</pre></details>
</details>"""
