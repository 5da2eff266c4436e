"""The tables of this project's own measures: every column of each."""

from harness.experiment.columns import (
    Table,
    configuration,
    count,
    models_table,
    nbytes,
    own_table,
    peers_table,
    seconds,
    share,
    text,
)

ALLOCATORS = ("glibc", "glibc_fixed_threshold")
"""The allocators that resident memory is measured with."""

_MEMORY = (
    count(
        "forward_steps", "Layers run forward in the step, recomputed ones included. Store-all runs L.", filled="always"
    ),
    count(
        "forward_flops",
        "Floating-point operations of the matrix products of these layers.",
        filled="always",
        unit="operation",
    ),
    count("hits", "Requests for a layer output that the cache held.", filled="always"),
    count("misses", "Requests for a layer output that was recomputed.", filled="always"),
    count(
        "peak_cached_layers", "Most layer outputs that the schedule held at once, without the input.", filled="always"
    ),
    nbytes("predicted_peak_bytes", "Peak of the step, predicted by a dry run.", filled="always", minimum=1),
    nbytes("predicted_forward_peak_bytes", "Peak of the forward pass, predicted by a dry run.", filled="always"),
    nbytes("predicted_backward_peak_bytes", "Peak of the backward pass, predicted by a dry run.", filled="always"),
    nbytes("tracker_peak_bytes", "Peak of the step, counted by the network's tracker.", minimum=1),
    nbytes("memray_peak_bytes", "Peak of requested bytes during the step, measured by memray.", minimum=1),
    nbytes("memray_forward_peak_bytes", "Peak of the forward pass, measured by memray.", minimum=1),
    nbytes("memray_backward_peak_bytes", "Peak of the backward pass, measured by memray.", minimum=1),
    nbytes("residual_bytes", "memray_peak_bytes minus predicted_peak_bytes.", minimum=None),
    nbytes("memray_activation_buffers_bytes", "Part of memray's peak: layer outputs and the gradients at them."),
    nbytes("memray_parameter_deltas_bytes", "Part of memray's peak: gradients of weights and biases."),
    nbytes("memray_workspace_bytes", "Part of memray's peak: scratch memory of a pass."),
    nbytes("memray_other_bytes", "Part of memray's peak: everything else, such as objects of the interpreter."),
    nbytes("tracker_checkpoints_bytes", "Part of the tracker's peak: layer outputs that the schedule keeps."),
    nbytes("tracker_working_afters_bytes", "Part of the tracker's peak: all other layer outputs."),
    nbytes("tracker_deltas_bytes", "Part of the tracker's peak: gradients at layer outputs."),
    nbytes("tracker_parameter_deltas_bytes", "Part of the tracker's peak: gradients of weights and biases."),
    nbytes("tracker_workspace_bytes", "Part of the tracker's peak: scratch memory of a pass."),
)

_OWN = {"forward_seconds", "backward_seconds", *(column.name for column in _MEMORY)} - {"memray_peak_bytes"}
"""Columns that tables of other frameworks have, too, and that are empty if a framework does not tell the value."""

_EVIDENCE = (
    share("gradient_error", "Largest distance of a layer's gradient from ours, over its norm, in the measured step."),
    share("gradient_error_double", "The same in double precision, on at most 64 rows. It is at most 1e-4."),
    count("executed_products", "Matrix products that the step executes, recomputed ones included."),
    count("activation_blocks_at_peak", "Live blocks at memray's peak of the size of the widest hidden layer's output."),
    nbytes(
        "compiler_temporary_bytes",
        "Memory beside arguments and results, as the framework's compiler reports it.",
        filled="sometimes",
    ),
)

_RESIDENT = (
    text(
        "allocator",
        "glibc: its malloc as it is. glibc_fixed_threshold: the same with a fixed mmap threshold.",
        values=ALLOCATORS,
    ),
    count("repeat", "Number of the step, from 0."),
    nbytes(
        "resident_before_bytes",
        "Resident memory of the process before the step, after freed memory is given back.",
        minimum=1,
    ),
    nbytes("resident_peak_bytes", "How far resident memory rises above that during the step.", minimum=None),
)

_TIMELINE = (
    count("event", "Number of the event in the step, from 0."),
    text("phase", "Pass of the event: forward or backward."),
    text("action", "What happens to the layer's output, to the gradient there, or to its weight gradients."),
    count("layer", "The layer, from 1. 0 is the input or the pass itself."),
    nbytes("bytes", "Change of the live bytes in the event.", minimum=None),
    nbytes("live_bytes", "Live bytes after the event, counted by the tracker."),
    nbytes("memray_live_bytes", "Live bytes after the event, measured by memray."),
)

_CPU = count(
    "cpu", "Processor that the process was kept on. Empty if the system does not allow that.", filled="sometimes"
)

_TIME = (
    count("repeat", "Number of the round, from 0. Each round times every variant once."),
    count("position", "Place in the shuffled order of all timings of the process, from 0."),
    count("loops", "Steps of this sample. The seconds are their mean.", minimum=1),
    _CPU,
    seconds(
        "forward_seconds", "Seconds of the forward pass. Empty if the step has no separate passes.", filled="sometimes"
    ),
    seconds(
        "backward_seconds",
        "Seconds of the backward pass. Empty if the step has no separate passes.",
        filled="sometimes",
    ),
    seconds("step_seconds", "Seconds of the step. A train_step includes its update."),
)

_PEERS_TIME = (
    *_TIME,
    seconds("floor_seconds", "Seconds of the bare matrix products of the step, by the framework's own routine."),
    count("repeats", "Number of repeats of the cell: fewer than asked for if its steps take seconds.", minimum=1),
)

_TRAINING = (
    count("epoch", "Number of the epoch, from 1.", minimum=1),
    _CPU,
    share(
        "train_loss",
        "Mean cross-entropy over the epoch's mini-batches. Not a number if the training diverged.",
        finite=False,
    ),
    share("train_accuracy", "Share of the training rows that are classified correctly."),
    share(
        "test_loss",
        "Mean cross-entropy over the test rows after the epoch. Not a number if the training diverged.",
        finite=False,
    ),
    share("test_accuracy", "Share of the test rows that are classified correctly after the epoch."),
    seconds("epoch_seconds", "Seconds of the epoch's training, without the test."),
)

_PLANNED = (
    nbytes("budget_bytes", "The budget of a planned step.", filled="sometimes", minimum=1),
    text("schedule", "The schedule of a planned step.", filled="sometimes"),
)

_MODELS_MEMORY = (
    *_PLANNED,
    nbytes("peak_bytes", "Peak of requested bytes during a step, measured by memray.", minimum=1),
    nbytes(
        "predicted_peak_bytes",
        "Peak of the step, predicted from the profile. Empty for torch.compile.",
        filled="sometimes",
    ),
    nbytes("allowance_bytes", "How far a step may rise above its prediction, within its budget.", filled="sometimes"),
    share("work", "Forward operations over plain autograd's. Empty for torch.compile.", filled="sometimes"),
    nbytes("smallest_budget_bytes", "The smallest budget that a plan of these blocks can meet.", filled="sometimes"),
)

_MODELS_TIME = (
    *_PLANNED,
    count("repeat", "Number of the round, from 0. Each round times every variant of a model once."),
    count("position", "Place in the shuffled order of all timings of the process, from 0."),
    _CPU,
    seconds("step_seconds", "Seconds of a step."),
    share("time_ratio", "step_seconds over those of the plain step with the same blocks in the same round."),
)

MEMORY = own_table("memory", "Peak memory of one training step. One row for each cell.", columns=_MEMORY)
TIMELINE = own_table(
    "timeline", "Live bytes over one training step. One row for each event.", key=("event",), columns=_TIMELINE
)
PEERS_MEMORY = peers_table(
    "peers_memory",
    "Peak memory of one training step in several frameworks. One row for each cell.",
    columns=(*_MEMORY, *_EVIDENCE),
    own=_OWN,
)
RESIDENT = peers_table(
    "resident",
    "Resident peaks of a training step. One row for each repeat.",
    key=("allocator", "repeat"),
    columns=_RESIDENT,
)
TIME = own_table("time", "Seconds of a training step. One row for each repeat.", key=("repeat",), columns=_TIME)
PEERS_TIME = peers_table(
    "peers_time",
    "Seconds of a training step in several frameworks. One row for each repeat.",
    key=("repeat",),
    columns=_PEERS_TIME,
    own=_OWN,
)
TRAINING = own_table("training", "Learning the digits. One row for each epoch.", key=("epoch",), columns=_TRAINING)
MODELS_MEMORY = models_table(
    "models_memory",
    "Peak memory of one training step of a PyTorch model. One row for each cell.",
    columns=_MODELS_MEMORY,
)
MODELS_TIME = models_table(
    "models_time",
    "Seconds of a training step of a PyTorch model. One row for each repeat.",
    key=("repeat",),
    columns=_MODELS_TIME,
)

RANKING = Table(
    "ranking",
    "Schedules within budgets. One row for each chain, budget and kind, the best first.",
    ("layers", "batch", "dtype", "activation", "seed", "budget_bytes", "kind"),
    (
        text("chain", "Name of the layers, such as hourglass.", filled="always"),
        *configuration("layers", "batch", "dtype", "activation", "seed"),
        nbytes("budget_bytes", "Budget of the predicted peak.", filled="always", minimum=1),
        share("budget_ratio", "The budget over store-all's predicted peak.", filled="always"),
        text("kind", "Kind of schedule, without its numbers.", filled="always"),
        text(
            "fits",
            "Whether a schedule of this kind has its predicted peak within the budget.",
            filled="always",
            values=("yes", "no"),
        ),
        count("place", "Place of the kind, from 1 for the best. A tie goes to optimal.", filled="sometimes", minimum=1),
        text("variant", "The best schedule of the kind that fits.", filled="sometimes"),
        nbytes("predicted_peak_bytes", "Peak of that schedule, predicted by a dry run.", filled="sometimes", minimum=1),
        share("forward_work_ratio", "Forward work of that schedule over store-all's.", filled="sometimes"),
        share(
            "over_optimum",
            "Forward work of that schedule over the work of optimal within the budget.",
            filled="sometimes",
        ),
    ),
    of_cell=(),
)
