"""The page on models of one's own tells the truth: its snippets run, and a plan prints what is shown."""

import re

import pytest

from tests.support.documents import PAGES, blocks, output_of_command, outputs_of_python

torch = pytest.importorskip("torch")

TEXT = PAGES["docs/own-models.md"].read_text()


def shape_of(output: str) -> list[str]:
    """The lines without their numbers, which vary by some KB from run to run, and without the rules of the table."""
    lines = (" ".join(re.sub(r"[\d.,]+", "0", line).split()) for line in output.splitlines())
    return [line for line in lines if line.strip("─ ")]


def test_its_snippet_runs_and_prints_what_is_shown():
    for block, printed in outputs_of_python(TEXT, "docs/own-models.md"):
        assert printed == block.output


def test_its_command_prints_the_table_that_is_shown():
    (command,) = (block.code for block in blocks(TEXT, "sh") if "--model" in block.code)
    (shown,) = (block.code for block in blocks(TEXT, "text") if "taped(" in block.code)
    assert shape_of(output_of_command(command)) == shape_of(shown)


def test_gradients_are_freed_by_the_lines_that_step_in_the_backward_pass():
    (lines,) = (block.code for block in blocks(TEXT, "py") if "register_post_accumulate_grad_hook" in block.code)
    model = torch.nn.Linear(3, 2)
    before = model.weight.detach().clone()
    exec(lines, {"torch": torch, "model": model})
    model(torch.ones(4, 3)).sum().backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.allclose(model.weight, before - 0.1 * 4)
