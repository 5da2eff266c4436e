"""Plans for a user's own PyTorch model: a measured profile and a budget in bytes in, a schedule of its blocks out.

    profile = BlockProfile.from_json(text)
    plan = profile.plan(budget_bytes=2 * 2**30)
    plan.schedule, plan.predicted_peak_bytes, plan.work

The budget bounds the measured peak of a step: predicted peak + allowance <= budget. No torch is imported here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from networks.block_chain import Block, BlockChain
from networks.checks import check_count
from networks.planning.bill import OPTIMIZERS, SAVES_LITTLE, Bill, check_optimizer
from networks.planning.model_rows import BlockRow, checkpoint_rows, cost_of, filling, rows_within
from networks.planning.plain_data import from_json, made_from, to_json
from networks.schedules.blocks import BLOCK_FACTORIES, BlockSchedule, block_schedule
from networks.schedules.signature import Keep
from networks.schedules.spec import FACTORIES, calls_in
from networks.wording import cut, one_of

GRADIENTS = ("kept", "freed")
"""How long gradients of parameters stay: to the end of the step, or until the optimiser, in the backward pass, has used
them."""

ALLOWANCE_BYTES, BLOCK_ALLOWANCE_BYTES = 16 * 1024, 1024
"""Bytes that a step may take above its prediction, and so many more for each block. Containers of the interpreter grow
in steps. Steps of 64 to 201 small blocks took up to 460 bytes for each block above their predictions."""


@dataclass(frozen=True, kw_only=True)
class ProfiledBlock(Block):
    """A block, and what a profile tells beside its bytes and work.

    Attributes:
        freed_backward_bytes: as `backward_bytes`, with each gradient freed as it comes.
        seconds: a run without tape; None where no time was taken.
        random: it draws from PyTorch's generators.
        buffers: names of the buffers that it writes, as in the model's `state_dict`.
        engine_bytes: its nodes in the maps of autograd's engine.
    """

    freed_backward_bytes: int
    seconds: float | None
    engine_bytes: int
    random: bool = False
    buffers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seconds is not None and not 0 <= self.seconds < float("inf"):
            raise ValueError(f"block {self.name!r}: seconds must be a number of at least 0, got {self.seconds}")

    def block(self, gradients: str) -> Block:
        """The block of a chain."""
        numbers = {field.name: getattr(self, field.name) for field in fields(Block)}
        backward_bytes = self.backward_bytes if gradients == "kept" else self.freed_backward_bytes
        return Block(**{**numbers, "backward_bytes": backward_bytes})


@dataclass(frozen=True, kw_only=True)
class BlockProfile:
    """What the blocks of a model take in a training step, as measured. It belongs to one machine and to these inputs.

    Attributes:
        blocks: in the order in which they run.
        before_bytes: as in `BlockChain`.
        before_run_bytes: as in `BlockChain`.
        before_backward_bytes: as in `BlockChain`.
        loss_forward_bytes: as in `BlockChain`.
        loss_backward_bytes: as in `BlockChain`.
        loss_holds_output: as in `BlockChain`.
        loss_bytes: as in `BlockChain`.
        engine_bytes: the maps of autograd's engine for what runs outside of the blocks.
        freed_loss_bytes: as `loss_bytes`, with each gradient freed as it comes.
        waiting_gradient_bytes: as in `Block`, of what runs before block 1.
        fingerprint: names the model's code and shapes.
        cut: how the model was cut into blocks: a path, "auto", "callables", or None for a Sequential's children.
        inputs: shapes, types, devices and strides of the inputs, in a line.
        parameters_bytes, trained_bytes: all parameters, and those that get gradients.
        data_bytes: the inputs of a step.
        threads: of PyTorch.
        torch, python: their versions.
        autocast: devices and types of the autocast that it was measured under, in a line; None where it was off.
        notes: what is to be known of the cut: blocks that were merged, or why none were found.
    """

    blocks: tuple[ProfiledBlock, ...]
    before_bytes: int
    before_run_bytes: int
    before_backward_bytes: int
    loss_forward_bytes: int
    loss_backward_bytes: int
    loss_holds_output: bool
    loss_bytes: int
    freed_loss_bytes: int
    engine_bytes: int
    fingerprint: str
    cut: str | None
    inputs: str
    parameters_bytes: int
    trained_bytes: int
    data_bytes: int
    threads: int
    torch: str
    python: str
    autocast: str | None = None
    waiting_gradient_bytes: int = 0
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        counts = ("parameters_bytes", "trained_bytes", "data_bytes")
        for name in ("freed_loss_bytes", "waiting_gradient_bytes", *counts):
            check_count(name, getattr(self, name), least=0)
        self.chain()

    def __repr__(self) -> str:
        return f"<BlockProfile {len(self.blocks)} blocks, inputs {cut(self.inputs)}, torch {self.torch}>"

    def chain(self, gradients: str = "kept") -> BlockChain:
        """The bytes and the work of a step, as schedules read them."""
        check_gradients(gradients)
        kept = gradients == "kept"
        return BlockChain(
            blocks=tuple(one.block(gradients) for one in self.blocks),
            before_bytes=self.before_bytes,
            before_run_bytes=self.before_run_bytes,
            before_backward_bytes=self.before_backward_bytes + (0 if kept else self.waiting_gradient_bytes),
            loss_forward_bytes=self.loss_forward_bytes,
            loss_backward_bytes=self.loss_backward_bytes,
            loss_holds_output=self.loss_holds_output,
            loss_bytes=self.loss_bytes if kept else self.freed_loss_bytes,
            engine_bytes=self.engine_bytes + sum(one.engine_bytes for one in self.blocks),
            gradients_pile_up=kept,
        )

    def repeated(self, name: str, times: int) -> "BlockProfile":
        """The profile of a deeper model: `times` blocks in the place of the block `name`. Nothing runs by its plans.

        Parameters of the block that are frozen are counted once. The copies share no others: only the lowest one shares
        what the block shares with the rest of the model. Raises ValueError if no block has this name.
        """
        times = check_count("times", times)
        names = [one.name for one in self.blocks]
        if name not in names:
            raise ValueError(f"the block to repeat must be {one_of(name, names)}")
        at = names.index(name)
        again = self.blocks[at]
        more_bytes = (times - 1) * again.gradient_bytes
        other = replace(again, added_gradient_bytes=0, backward_bytes=again.backward_bytes + again.added_gradient_bytes)
        copies = (again, *[other] * (times - 1))
        stack = (replace(one, name=f"{name} ({number})") for number, one in enumerate(copies, 1))
        return replace(
            self,
            blocks=(*self.blocks[:at], *stack, *self.blocks[at + 1 :]),
            fingerprint=f"{self.fingerprint} with {name} {times} times",
            parameters_bytes=self.parameters_bytes + more_bytes,
            trained_bytes=self.trained_bytes + more_bytes,
            notes=(*self.notes, f"block {name} was profiled once and stands {times:,} times"),
        )

    def plan(self, *, budget_bytes: int, gradients: str = "kept") -> "BlockPlan":
        """The schedule that trains the model with the least forward work within `budget_bytes`.

        `gradients="freed"` is a step whose optimiser, in the backward pass, uses and frees each gradient as it comes.
        Raises ValueError if no schedule meets the budget: it then names the smallest budget that can be met, and what
        fills it.
        """
        budget_bytes = check_count("budget_bytes", budget_bytes)
        chain = self.chain(gradients)
        least = self._least(chain)
        smallest = least.peak_bytes + self.allowance_bytes
        fills = filling(chain, cost_of(chain, least.schedule).highest)
        if budget_bytes < smallest:
            raise ValueError(
                f"no plan meets a budget of {budget_bytes:,} bytes: the smallest that can be met is "
                f"{smallest:,} bytes; {fills}"
            )
        room, seconds = budget_bytes - self.allowance_bytes, self._seconds
        rows = rows_within(chain, seconds, room)
        # A larger budget must not need more work than the smallest.
        best = min((row for row in (*rows, replace(least, fits=True)) if row.fits), key=_cost)
        return BlockPlan(
            profile=self,
            budget_bytes=budget_bytes,
            gradients=gradients,
            best=best,
            rows=rows,
            checkpoints=checkpoint_rows(chain, seconds, room),
            smallest_budget_bytes=smallest,
            advice=_advice(rows[0].peak_bytes, smallest, least.peak_bytes, fills),
        )

    def budgets(self, gradients: str = "kept") -> tuple[int, int]:
        """The smallest budget that a plan meets, and the smallest that plain autograd meets."""
        chain = self.chain(gradients)
        peaks = self._least(chain).peak_bytes, cost_of(chain, "plain()").peak_bytes
        return peaks[0] + self.allowance_bytes, peaks[1] + self.allowance_bytes

    @property
    def allowance_bytes(self) -> int:
        """What a step may take above its prediction."""
        return ALLOWANCE_BYTES + BLOCK_ALLOWANCE_BYTES * len(self.blocks)

    @property
    def is_timed(self) -> bool:
        """Whether times are predicted from seconds. Otherwise they are predicted from operations."""
        return all(one.seconds is not None for one in self.blocks)

    @property
    def _seconds(self) -> list[float]:
        """Seconds of each block, or numbers in proportion to its operations."""
        seconds = [one.seconds for one in self.blocks if one.seconds is not None]
        return seconds if self.is_timed else [float(one.forward_flops) for one in self.blocks]

    def _least(self, chain: BlockChain) -> BlockRow:
        """The row of the least peak."""
        return min(rows_within(chain, self._seconds, 0), key=lambda row: (row.peak_bytes, row.work))

    def bill(self, *, gradients: str = "kept", optimizer: str = "adam") -> Bill:
        """What a training holds beside the peak of its steps. Scratch of the optimiser is not in it."""
        check_gradients(gradients)
        check_optimizer(optimizer)
        return Bill(
            optimizer=optimizer,
            parameters_bytes=self.parameters_bytes,
            optimizer_state_bytes=OPTIMIZERS[optimizer] * self.trained_bytes,
            data_bytes=self.data_bytes,
            update_bytes=self.trained_bytes if gradients == "kept" else 0,
        )

    def to_json(self) -> str:
        """The profile as text."""
        return to_json(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> "BlockProfile":
        """The profile that `to_json` wrote. Raises ValueError, in a line, for any other text."""
        return from_json(cls, text, "profile")

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "BlockProfile":
        """A profile of plain data, as a worker measures it. Raises ValueError, in a line, for any other."""
        return made_from(cls, row, "profile")


@dataclass(frozen=True, kw_only=True)
class BlockPlan:
    """The schedule for a model within a budget, and what the others cost.

    Attributes:
        profile: of the model.
        budget_bytes, gradients: what was asked.
        best: the row of the schedule.
        rows: a row for plain autograd, the best of `torch.utils.checkpoint`, and schedules of ours.
        checkpoints: `torch.utils.checkpoint` around every n blocks, for each n.
        smallest_budget_bytes: the smallest budget that a plan meets.
        advice: what fills the smallest peak and what would lower it, and whether checkpointing saves anything here.
    """

    profile: BlockProfile
    budget_bytes: int
    gradients: str
    best: BlockRow
    rows: tuple[BlockRow, ...]
    checkpoints: tuple[BlockRow, ...]
    smallest_budget_bytes: int
    advice: str

    def __post_init__(self) -> None:
        check_gradients(self.gradients)
        known = [*FACTORIES, *BLOCK_FACTORIES]
        for call in calls_in(self.best.schedule):  # a plan is data, and runs nobody's code
            if call.head not in known:
                raise ValueError(f"the schedule of a plan must be {one_of(call.head, known)}")

    def __repr__(self) -> str:
        peak = f"peak {self.predicted_peak_bytes:,} bytes, allowance {self.allowance_bytes:,} bytes"
        return f"<BlockPlan {self.best.schedule}: {peak}, work {self.work:.3f}>"

    @property
    def schedule(self) -> BlockSchedule:
        """The schedule; its `text` makes it again."""
        return block_schedule(self.best.schedule)

    @property
    def chain(self) -> BlockChain:
        """What the schedule is bound to."""
        return self.profile.chain(self.gradients)

    @property
    def keep(self) -> Keep:
        """The schedule, bound to the model's blocks. It is solved anew in a process that has not planned."""
        return self.schedule(self.chain)

    @property
    def predicted_peak_bytes(self) -> int:
        """The peak of a step; that and the allowance are within the budget."""
        return self.best.peak_bytes

    @property
    def allowance_bytes(self) -> int:
        """What a step may take above its prediction."""
        return self.profile.allowance_bytes

    @property
    def work(self) -> float:
        """Forward work of a step over that of plain autograd."""
        return self.best.work

    def to_json(self) -> str:
        """The plan as text, its profile included."""
        return to_json(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> "BlockPlan":
        """The plan that `to_json` wrote. Raises ValueError, in a line, for any other text."""
        return from_json(cls, text, "plan")


def check_gradients(gradients: str) -> None:
    """Raise ValueError unless it is one of `GRADIENTS`."""
    if gradients not in GRADIENTS:
        raise ValueError(f"gradients must be {one_of(gradients, GRADIENTS)}")


def _cost(row: BlockRow) -> tuple[float, int]:
    return row.work, row.peak_bytes


def _advice(plain_bytes: int, smallest_bytes: int, least_bytes: int, fills: str) -> str:
    saving = 1 - least_bytes / max(1, plain_bytes)
    little = f"no plan saves more than {max(0, saving):.1%} of plain autograd's {plain_bytes:,} bytes; "
    return f"{little if saving < SAVES_LITTLE else ''}the smallest budget is {smallest_bytes:,} bytes; {fills}"
