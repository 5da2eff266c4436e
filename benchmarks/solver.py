"""`python -m benchmarks.solver`: what it takes to plan deep chains of blocks by `taped`, each in a fresh process.

The budget lies halfway between the least peak and that of plain autograd. Seconds are processor time, without imports.
"""

import json
import resource
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

from networks.schedules.blocks import plain, replay_blocks, taped
from networks.schedules.blocks.taped import smallest_budget
from tests.support.blocks import deep_block_chain

GOALS = {100: (2, 2), 200: (8, 2), 400: (60, 2)}
"""By number of blocks: the seconds and the GiB of the whole process that planning may take."""


def plan(depth: int) -> dict[str, float]:
    """Seconds and resident GiB of one plan in this process."""
    chain = deep_block_chain(depth)
    start = time.process_time()
    least, most = smallest_budget(chain), replay_blocks(chain, plain()(chain)).peak_bytes
    taped(budget_bytes=(least + most) // 2)(chain)
    seconds = time.process_time() - start
    return {"seconds": seconds, "gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def main() -> None:
    if sys.argv[1:]:
        print(json.dumps(plan(int(sys.argv[1]))))
        return
    shown = Table("blocks", "seconds", "resident", "goals")
    for depth, (most_seconds, most_gib) in GOALS.items():
        command = (sys.executable, "-m", "benchmarks.solver", str(depth))
        taken = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        missed = "!" if taken["seconds"] > most_seconds or taken["gib"] > most_gib else ""
        goals = f"{most_seconds} s, {most_gib} GiB{missed}"
        shown.add_row(str(depth), f"{taken['seconds']:.1f}", f"{taken['gib']:.2f} GiB", goals)
    Console().print(shown)


if __name__ == "__main__":
    main()
