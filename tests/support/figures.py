"""What a drawn figure shows: its words, where they land, and its pixels."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text


def drawn_texts(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Each text as it lands on the canvas, with its box: what is hidden or out of view is not drawn."""
    drawn = []

    def record(text: Text, renderer: Any, original: Any = Text.draw) -> None:
        original(text, renderer)
        if text.get_visible() and text.get_text():
            drawn.append((text.get_text(), text.get_window_extent(renderer)))

    with monkeypatch.context() as patch:
        patch.setattr(Text, "draw", record)
        FigureCanvasAgg(figure).draw()
    return drawn


def overlaps(drawn: list[tuple[str, Any]]) -> list[tuple[str, str]]:
    return [(a, b) for (a, one), (b, other) in combinations(drawn, 2) if one.padded(-1).overlaps(other.padded(-1))]


def words(figure: Figure) -> str:
    """All words of a figure in one line, as a caption may break anywhere."""
    return " ".join(" ".join(text.get_text() for text in figure.findobj(Text)).split())


def rgba(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())
