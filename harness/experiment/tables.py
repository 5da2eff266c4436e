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
"""Under which resident memory is taken."""

_MEMORY = (
    count("forward_steps", "Layer forwards executed in the step; store-all needs L.", filled="always"),
    count("forward_flops", "Floating-point operations of their products.", filled="always", unit="operation"),
    count("hits", "Requests for an after that was resident.", filled="always"),
    count("misses", "Requests for an after that had to be recomputed.", filled="always"),
    count("peak_cached_layers", "Most afters that the schedule held at once, the input not counted.", filled="always"),
    nbytes("predicted_peak_bytes", "Peak of the step by dry run.", filled="always", minimum=1),
    nbytes("predicted_forward_peak_bytes", "Peak of the forward pass by dry run.", filled="always"),
    nbytes("predicted_backward_peak_bytes", "Peak of the backward pass by dry run.", filled="always"),
    nbytes("tracker_peak_bytes", "Peak of the step by the executed network's tracker.", minimum=1),
    nbytes("memray_peak_bytes", "Peak of requested bytes during the step, measured by memray.", minimum=1),
    nbytes("memray_forward_peak_bytes", "Peak of the forward pass, measured by memray.", minimum=1),
    nbytes("memray_backward_peak_bytes", "Peak of the backward pass, measured by memray.", minimum=1),
    nbytes("residual_bytes", "memray_peak_bytes less predicted_peak_bytes.", minimum=None),
    nbytes("memray_activation_buffers_bytes", "Part of memray's peak: afters and deltas."),
    nbytes("memray_parameter_deltas_bytes", "Part of memray's peak: gradients of weights and biases."),
    nbytes("memray_workspace_bytes", "Part of memray's peak: scratch of a pass."),
    nbytes("memray_other_bytes", "Part of memray's peak: all else, such as the interpreter's own objects."),
    nbytes("tracker_checkpoints_bytes", "Part of the tracker's peak: afters that the schedule keeps."),
    nbytes("tracker_working_afters_bytes", "Part of the tracker's peak: all other afters, outputs included."),
    nbytes("tracker_deltas_bytes", "Part of the tracker's peak: gradients at the layers' outputs."),
    nbytes("tracker_parameter_deltas_bytes", "Part of the tracker's peak: gradients of weights and biases."),
    nbytes("tracker_workspace_bytes", "Part of the tracker's peak: scratch of a pass."),
)

_OWN = {"forward_seconds", "backward_seconds", *(column.name for column in _MEMORY)} - {"memray_peak_bytes"}
"""Columns of measures that other frameworks' steps share, and that are empty where a framework does not tell."""

_EVIDENCE = (
    share("gradient_error", "Largest distance of a layer's gradient from ours over its norm, in the measured step."),
    share("gradient_error_double", "The same in double precision on at most 64 rows, at most 1e-4."),
    count("executed_products", "Matrix products that the step executes, recomputed ones included."),
    count("activation_blocks_at_peak", "Live blocks at memray's peak as large as an after of the widest hidden layer."),
    nbytes("compiler_temporary_bytes", "Beside arguments and results, as its compiler says.", filled="sometimes"),
)

_RESIDENT = (
    text("allocator", "glibc's malloc, or the same with a fixed mmap threshold.", values=ALLOCATORS),
    count("repeat", "Number of the step, from 0."),
    nbytes(
        "resident_before_bytes", "Resident memory of the process before the step, freed memory given back.", minimum=1
    ),
    nbytes("resident_peak_bytes", "How far resident memory rose above that during the step.", minimum=None),
)

_TIMELINE = (
    count("event", "Number of the event in the step, from 0."),
    text("phase", "Pass in which it happens: forward or backward."),
    text("action", "What happens to the layer's after, delta or parameter deltas."),
    count("layer", "The layer, from 1; 0 is the input, or the pass itself."),
    nbytes("bytes", "Change of the live bytes.", minimum=None),
    nbytes("live_bytes", "Live after the event, by the tracker."),
    nbytes("memray_live_bytes", "Live at the event, by memray."),
)

_CPU = count("cpu", "Processor that the process was kept on; empty where that is not allowed.", filled="sometimes")

_TIME = (
    count("repeat", "Number of the round, from 0; every variant is timed once a round."),
    count("position", "Place in the shuffled order of all timings of the process, from 0."),
    count("loops", "Steps of this sample, of which the seconds are the mean.", minimum=1),
    _CPU,
    seconds("forward_seconds", "Of the forward pass, where the step is one of each pass.", filled="sometimes"),
    seconds("backward_seconds", "Of the backward pass, likewise.", filled="sometimes"),
    seconds("step_seconds", "Of both, and of the update that a train_step includes."),
)

_PEERS_TIME = (
    *_TIME,
    seconds("floor_seconds", "Of the bare matrix products that the step executes, by the framework's own routine."),
    count("repeats", "How many the cell has: fewer than asked for where its steps take seconds.", minimum=1),
)

_TRAINING = (
    count("epoch", "Number of the epoch, from 1.", minimum=1),
    _CPU,
    share(
        "train_loss",
        "Mean cross-entropy over the epoch's mini-batches; not a number if training diverged.",
        finite=False,
    ),
    share("train_accuracy", "Share of the training rows that are classified rightly."),
    share("test_loss", "Mean cross-entropy over the test rows after the epoch, likewise.", finite=False),
    share("test_accuracy", "Share of the test rows that are classified rightly after the epoch."),
    seconds("epoch_seconds", "Of the epoch's training, the test left out."),
)

_PLANNED = (
    nbytes("budget_bytes", "The budget of a planned step.", filled="sometimes", minimum=1),
    text("schedule", "The schedule of a planned step.", filled="sometimes"),
)

_MODELS_MEMORY = (
    *_PLANNED,
    nbytes("peak_bytes", "Peak of requested bytes during a step, measured by memray.", minimum=1),
    nbytes("predicted_peak_bytes", "The same by the profile; empty for torch.compile.", filled="sometimes"),
    nbytes("allowance_bytes", "What a step may take above its prediction, within its budget.", filled="sometimes"),
    share("work", "Forward operations over plain autograd's; empty for torch.compile.", filled="sometimes"),
    nbytes("smallest_budget_bytes", "The smallest budget that a plan of these blocks meets.", filled="sometimes"),
)

_MODELS_TIME = (
    *_PLANNED,
    count("repeat", "Number of the round, from 0; every variant of a model is timed once a round."),
    count("position", "Place in the shuffled order of all timings of the process, from 0."),
    _CPU,
    seconds("step_seconds", "Of a step."),
    share("time_ratio", "step_seconds over those of the plain step, of the same blocks, in the same round."),
)

MEMORY = own_table("memory", "Peak memory of one training step, a row a cell.", columns=_MEMORY)
TIMELINE = own_table(
    "timeline", "Live bytes over one training step, a row an event.", key=("event",), columns=_TIMELINE
)
PEERS_MEMORY = peers_table("peers_memory", "memory, of several frameworks.", columns=(*_MEMORY, *_EVIDENCE), own=_OWN)
RESIDENT = peers_table("resident", "Resident peaks, a row a repeat.", key=("allocator", "repeat"), columns=_RESIDENT)
TIME = own_table("time", "Seconds of a training step, a row a repeat.", key=("repeat",), columns=_TIME)
PEERS_TIME = peers_table("peers_time", "time, of several frameworks.", key=("repeat",), columns=_PEERS_TIME, own=_OWN)
TRAINING = own_table("training", "Learning the digits, a row an epoch.", key=("epoch",), columns=_TRAINING)
MODELS_MEMORY = models_table(
    "models_memory", "Peak memory of one training step of a PyTorch model, a row a cell.", columns=_MODELS_MEMORY
)
MODELS_TIME = models_table(
    "models_time",
    "Seconds of a training step of a PyTorch model, a row a repeat.",
    key=("repeat",),
    columns=_MODELS_TIME,
)

RANKING = Table(
    "ranking",
    "Schedules within budgets, a row a chain, budget and kind, from the best on.",
    ("layers", "batch", "dtype", "activation", "seed", "budget_bytes", "kind"),
    (
        text("chain", "What the layers are called, such as hourglass.", filled="always"),
        *configuration("layers", "batch", "dtype", "activation", "seed"),
        nbytes("budget_bytes", "Budget of the predicted peak.", filled="always", minimum=1),
        share("budget_ratio", "The budget over store-all's predicted peak.", filled="always"),
        text("kind", "Kind of schedule, its numbers left out.", filled="always"),
        text(
            "fits",
            "Whether one of the kind has its predicted peak within the budget.",
            filled="always",
            values=("yes", "no"),
        ),
        count("place", "From 1 for the best; a tie goes to optimal.", filled="sometimes", minimum=1),
        text("variant", "The best of the kind that fits.", filled="sometimes"),
        nbytes("predicted_peak_bytes", "Its peak by dry run.", filled="sometimes", minimum=1),
        share("forward_work_ratio", "Its forward work over store-all's.", filled="sometimes"),
        share("over_optimum", "Its forward work over that of optimal within the budget.", filled="sometimes"),
    ),
    of_cell=(),
)
