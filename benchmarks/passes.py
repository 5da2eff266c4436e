"""`python -m benchmarks.passes`: what each element-wise pass takes beyond the matrix products, and other ways tried.

The kernels of a chain of equal layers, each pass added in turn to the products by blocks; then all of them in other
ways. Each stands over the whole products, run in turns with it in one process: the median of the paired ratios, with
its quartiles. `OPENBLAS_NUM_THREADS` says on how many threads.
"""

import os

import numpy as np
from rich import box
from rich.table import Table

from benchmarks.step import ratio_quartiles
from benchmarks.step_worker import measure_time
from harness.commands.console import new_console
from networks.activations import HIDDEN
from networks.buffers import small_ufunc_buffers
from networks.chain import Chain
from networks.layers import row_blocks
from networks.workspace import Workspace

LAYERS, WIDTH, BATCH = 64, 128, 4096
REPEATS = 9
PASSES = ("biases", "maximum", "sums", "mask")


class Kernels:
    """Forward and backward through equal layers, on arrays of its own: afters that become deltas."""

    def __init__(self):
        generator = np.random.default_rng(0)

        def normal(*shape: int) -> np.ndarray:
            return generator.standard_normal(shape, dtype=np.float32)

        self.weights = [normal(WIDTH, WIDTH) * np.float32((2 / WIDTH) ** 0.5) for _ in range(LAYERS)]
        self.biases = np.zeros(WIDTH, np.float32)
        self.inputs, self.top = normal(BATCH, WIDTH), normal(BATCH, WIDTH)
        self.afters = [normal(BATCH, WIDTH) for _ in range(LAYERS + 1)]
        self.weights_delta, self.biases_delta = np.empty_like(self.weights[0]), np.empty_like(self.biases)
        self.workspace = Workspace(Chain((WIDTH,) * (LAYERS + 1), BATCH, 4), self.inputs.dtype)
        self.blocks = row_blocks(self.inputs)

    def products(self) -> None:
        """The bare products, one for each layer."""
        self.afters[0][:] = self.inputs
        for layer, weights in enumerate(self.weights):
            np.matmul(self.afters[layer], weights, out=self.afters[layer + 1])
        self.afters[-1][:] = self.top
        for layer in reversed(range(LAYERS)):
            before, delta = self.afters[layer : layer + 2]
            np.matmul(before.T, delta, out=self.weights_delta)
            np.matmul(delta, self.weights[layer].T, out=before)

    def run(self, *passes: str, last_first: bool = False, through_scratch: bool = False) -> None:
        """The products by blocks with these `passes`, blocks in turn from the first, or backward from the last."""
        self.afters[0][:] = self.inputs
        with small_ufunc_buffers():
            for layer in range(LAYERS):
                self._forward(layer, passes, through_scratch)
            self.afters[-1][:] = self.top
            for layer in reversed(range(LAYERS)):
                self._backward(layer, passes, last_first)

    def _forward(self, layer: int, passes: tuple[str, ...], through_scratch: bool) -> None:
        before, after = self.afters[layer : layer + 2]
        self.workspace.hold_biases(self.biases)
        for rows in self.blocks:
            out = after[rows]
            product = self.workspace.block(*out.shape) if through_scratch else out
            np.matmul(before[rows], self.weights[layer], out=product)
            if "biases" in passes:
                self.workspace.add_biases(product)
            if "maximum" in passes:
                self.workspace.maximum_with_zero(product, out)

    def _backward(self, layer: int, passes: tuple[str, ...], last_first: bool) -> None:
        before, delta = self.afters[layer : layer + 2]
        np.matmul(before.T, delta, out=self.weights_delta)
        if "sums" in passes:
            np.matmul(self.workspace.ones, delta, out=self.biases_delta)
        for rows in reversed(self.blocks) if last_first else self.blocks:
            product = self.workspace.block(*before[rows].shape)
            np.matmul(delta[rows], self.weights[layer].T, out=product)
            if "mask" in passes:
                HIDDEN["relu"].backpropagate(product, before[rows])


def main() -> None:
    kernels = Kernels()
    runs = {"products by blocks": kernels.run}
    for number, name in enumerate(PASSES, start=1):
        runs[f"and {name}"] = lambda passes=PASSES[:number]: kernels.run(*passes)
    runs["all, backward from the last block"] = lambda: kernels.run(*PASSES, last_first=True)
    runs["all, forward through scratch"] = lambda: kernels.run(*PASSES, through_scratch=True)
    threads = int(os.environ.get("OPENBLAS_NUM_THREADS", os.cpu_count()))
    table = Table("kernels", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("over whole products", justify="right")
    for name, run in runs.items():
        seconds = measure_time({"kernels": run, "products": kernels.products}, repeats=REPEATS, threads=threads)
        low, middle, high = ratio_quartiles(seconds["kernels"], seconds["products"])
        table.add_row(name, f"{middle:.3f} ({low:.3f}-{high:.3f})")
    new_console().print(f"{LAYERS} layers {WIDTH} wide, batch {BATCH}, float32, threads: {threads}", table)


if __name__ == "__main__":
    main()
