"""The show command: the predicted cost of an experiment's cells, and how they ended."""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path

from harness.commands.console import ExperimentFile, ResultsFolder, job_label, new_console
from harness.commands.names import find_experiment
from harness.commands.tables import aligned, folded, wrapped
from harness.execute.strangers import require_sound_experiment
from harness.experiment.file import Experiment
from harness.experiment.job import AnyCell
from harness.experiment.model_cell import ModelCell
from harness.experiment.prediction import cost
from harness.results.store import DamagedError, Store

LEFT = ("framework", "layers", "variant", "model", "blocks", "budget", "gradients")
COSTS = ("forward_steps", "predicted_peak_bytes")


def command(
    experiment: ExperimentFile,
    results: ResultsFolder = Path("results"),
) -> None:
    """Show an experiment's cells: the predicted cost of each, and the status of those that were run.

    A dry run predicts the cost of a training step. Nothing is measured. For a failed cell the command names the file
    with its worker's output and traceback, and memray's capture if there is one.
    """
    path = find_experiment(experiment)
    loaded = Experiment.load(path)
    require_sound_experiment(loaded, path)
    names = {layers: name for name, layers in loaded.chains.items()}
    rows = [_costs(cell, names) for cell in loaded.cells()]
    varying = [column for column in rows[0] if column in COSTS or len({row[column] for row in rows}) > 1]
    console = new_console()
    shown = [{column: row[column] for column in varying} for row in rows]
    table = f"\n{aligned(shown, left=LEFT, width=console.width)}\n" if varying else ""  # a single step of a model
    fixed = ", ".join(f"{column} {value}" for column, value in rows[0].items() if value and column not in varying)
    told = "\n\n".join(wrapped(line, console.width) for line in (loaded.title, f"all cells: {fixed}"))
    chains = "".join(f"{folded(f'{name}: {layers}', console.width)}\n" for name, layers in loaded.chains.items())
    console.out(f"{told}\n{chains}{table}")
    for measure, jobs in groupby(loaded.jobs(), key=lambda job: job.measure):
        cells = [len(job.cells) for job in jobs]
        console.print(f"{measure}: {sum(cells)} cells in {len(cells)} processes")
    for line in _finished(loaded, Store(results / loaded.name)):
        console.print(line)


def _finished(experiment: Experiment, store: Store) -> Iterator[str]:
    """How the cells ended that were run: a count for each status, and the files of those that failed."""
    ended: Counter[str] = Counter()
    for job in experiment.jobs():
        try:
            record = store.load(job)
        except DamagedError as error:
            yield str(error)
            continue
        if record is not None:
            status, reason = (record.rows[0][column] for column in ("status", "error"))
            ended[status] += len(job.cells)
            if status != "ok":
                yield f"{job_label(job)}: {status}: {reason}"
                yield from (f"  {path}" for path in (store.path(job), store.capture_path(job)) if path.exists())
    if ended:
        yield f"finished: {', '.join(f'{cells} {status}' for status, cells in ended.items())}"


def _costs(cell: AnyCell, names: Mapping[str, str]) -> dict[str, str]:
    """A row of the table. `names` are names of layers, by layers."""
    if isinstance(cell, ModelCell):  # its worker profiles the model, and predicts then
        return {name: str(value or "") for name, value in cell.parameters.items()}
    predicted = None if cell.peer else cost(cell)  # another framework is not predicted
    return {
        "framework": cell.framework,
        "layers": names.get(cell.layers, cell.layers),
        **{name: str(getattr(cell, name)) for name in ("batch", "dtype", "activation", "seed", "variant")},
        "forward_steps": f"{predicted.forward_steps:,}" if predicted else "",
        "predicted_peak_bytes": f"{predicted.peak_bytes:,}" if predicted else "",
    }
