"""Labels beside points. A label covers no point and no other label, and a line ties it to its point."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

REACHES = 9, 14, 20, 28, 36
"""Possible distances of a label from its point, in points of type. The nearest free place is used."""
ANGLES = range(45, 405, 45)
ABOUT_A_POINT = 3.5
LETTER = 4.5, 7.0
"""Width and height of a digit."""


class Label(NamedTuple):
    """A label of a point, in some colour. An empty text is no label."""

    point: tuple[float, float]
    text: str
    color: Any


def place_labels(figure: Figure, labels: Mapping[Axes, Sequence[Label]]) -> None:
    """Write the labels of each of the axes. Labels of one colour at one point are joined."""
    figure.supxlabel("\n\n", size="small")  # room for the caption
    figure.draw_without_rendering()  # positions are known only after the layout
    for ax, those in labels.items():
        scale = figure.dpi / 72
        places = [tuple(ax.transData.transform(label.point) / scale) for label in those]
        taken = [Bbox.from_bounds(x - ABOUT_A_POINT, y - ABOUT_A_POINT, *[2 * ABOUT_A_POINT] * 2) for x, y in places]
        inside = Bbox(ax.bbox.get_points() / scale)
        for label, place in _together(those, places):
            offset, box = next(_free(place, label.text, taken, inside), ((9, 9), None))
            taken += [box] if box else []
            off: dict[str, Any] = {"xy": label.point, "xytext": offset, "textcoords": "offset points"}
            line = {"arrowstyle": "-", "color": label.color, "linewidth": 0.5, "shrinkA": 4, "shrinkB": 3}
            written = ax.annotate(label.text, **off, ha="center", va="center", size="small", color=label.color)
            tie = ax.annotate("", **off, arrowprops=line)
            for one in (written, tie):
                one.set_in_layout(False)


def _together(labels: Sequence[Label], places: Sequence[tuple[float, float]]) -> Iterator[tuple[Label, Any]]:
    """The labels. Those of one colour whose points coincide are joined: `4, 8`."""
    groups: dict[Any, tuple[Label, Any, list[str]]] = {}
    for label, place in zip(labels, places, strict=True):
        if label.text:
            spot = (label.color, *np.round(np.array(place) / ABOUT_A_POINT))
            groups.setdefault(spot, (label, place, []))[2].append(label.text)
    for label, place, texts in groups.values():
        yield label._replace(text=", ".join(dict.fromkeys(texts))), place


def _free(
    place: tuple[float, float], text: str, taken: Sequence[Bbox], inside: Bbox
) -> Iterator[tuple[tuple[float, float], Bbox]]:
    """The free places for a label of a point at `place`, the nearest first, each as its offset and its box."""
    width, height = LETTER[0] * len(text), LETTER[1]
    for reach, angle in product(REACHES, ANGLES):
        offset = reach * np.cos(np.radians(angle)), reach * np.sin(np.radians(angle))
        middle = place[0] + offset[0], place[1] + offset[1]
        box = Bbox.from_bounds(middle[0] - width / 2, middle[1] - height / 2, width, height)
        corners = (box.x0, box.y0), (box.x1, box.y1)
        if all(inside.contains(*corner) for corner in corners) and not any(map(box.overlaps, taken)):
            yield offset, box
