"""The page of all committed results in Chromium, opened from disk with the network off."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from harness.commands.command_line import app
from harness.provenance import ROOT

playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no browser: apt-get install chromium")

SCREENSHOTS = ROOT / "build" / "screenshots"
"""Each page as it was drawn, for people to look at."""
MOST_BYTES = 4 * 2**20
PHONE, DESK = {"width": 360, "height": 740}, {"width": 1280, "height": 900}
HALF_DESK = {"width": 640, "height": 450}
"""What a page has at a zoom of 200 %: half as many of its own pixels each way."""


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("report") / "report.html"
    done = CliRunner().invoke(app, ["report", str(ROOT / "results"), "--output", str(output)])
    assert done.exit_code == 0, done.output
    return output


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = started.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


def opened(chromium: Any, file: Path, viewport: dict[str, int], **options: Any) -> tuple[Any, list[str]]:
    """The page with all of its charts drawn, and what it complains of."""
    page = chromium.new_context(offline=True, viewport=viewport, **options).new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda request: (
            complaints.append(request.url) if not request.url.startswith(("file:", "blob:", "data:")) else None
        ),
    )
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-drawn]")
    return page, complaints


@pytest.fixture(scope="module")
def desk(chromium, file) -> tuple[Any, list[str]]:
    return opened(chromium, file, DESK)


def on_screen(page: Any, selector: str) -> dict[str, float]:
    """The place of an element on the screen, where a mouse can reach it."""
    found = page.locator(selector).first
    found.scroll_into_view_if_needed()
    return found.bounding_box()


def test_the_page_of_all_committed_results_is_small(file):
    assert file.stat().st_size < MOST_BYTES


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, DESK, HALF_DESK], ids=["360 px", "desk", "200 %"])
def test_it_opens_without_a_complaint_and_nothing_lies_over_another(chromium, file, viewport, scheme, record_property):
    page, complaints = opened(chromium, file, viewport, color_scheme=scheme)
    assert page.locator("html").get_attribute("data-drawn") == scheme
    drawings = page.locator(".drawing")
    assert drawings.count() >= 8
    for place in range(drawings.count()):
        marks = drawings.nth(place).locator("svg .mark-symbol path, svg .mark-rect path, svg .mark-area path")
        assert marks.count() > 0, drawings.nth(place).get_attribute("id")
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    assert page.evaluate(OVERLAPS) == []
    page.screenshot(path=SCREENSHOTS / f"{viewport['width']}-{scheme}.png", full_page=True)
    record_property("drawn_seconds", page.evaluate("performance.getEntriesByName('drawn')[0].startTime / 1000"))
    assert complaints == []
    page.context.close()


OVERLAPS = """() => {
  const found = [];
  const parents = "main, main section, header, nav, .experiments, .charts, .controls, .kinds, .tools, figure";
  for (const parent of document.querySelectorAll(parents)) {
    const shown = [...parent.children].map((child) => [child, child.getBoundingClientRect()])
      .filter(([, box]) => box.width && box.height);
    shown.forEach(([one, a], place) => shown.slice(place + 1).forEach(([other, b]) => {
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (across > 1 && down > 1) found.push(`${one.outerHTML.slice(0, 80)} | ${other.outerHTML.slice(0, 80)}`);
    }));
  }
  return found;
}"""
"""Elements beside each other that share more than a pixel each way."""


def test_a_brush_lists_the_cells_within_it(desk):
    page, complaints = desk
    page.select_option("#explorer-controls [name=layers]", "64x49,10")
    page.wait_for_function("document.querySelector('#explorer-table [role=status]').textContent.includes('of 33')")
    box = on_screen(page, "#explorer-chart svg")
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.55 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.99 * box["width"], box["y"] + 0.9 * box["height"], steps=5)
    page.mouse.up()
    page.wait_for_function("!document.querySelector('#explorer-table [role=status]').textContent.includes('of 33')")
    works = page.locator("#explorer-table tbody tr td:nth-child(7)").all_inner_texts()
    assert works
    assert min(map(float, works)) > 1.6
    assert complaints == []


def test_the_budget_names_the_best_schedule_within_it_by_slider_and_by_hand(desk):
    page, _ = desk
    slider, best = page.locator("#explorer-controls [name=budget]"), page.locator("#explorer-best")
    slider.evaluate("slider => { slider.value = 3; slider.dispatchEvent(new Event('input', { bubbles: true })); }")
    assert best.inner_text().startswith("Within 3.00 MiB the best is optimal, 3 MB")
    on_screen(page, "#explorer-chart")
    rule = on_screen(page, "#explorer-chart .budget_marks line")
    at = rule["x"] + 0.8 * rule["width"], rule["y"] + rule["height"] / 2
    page.mouse.move(*at)
    page.mouse.down()
    page.mouse.move(at[0], at[1] - 60, steps=4)
    page.mouse.up()
    assert float(slider.input_value()) > 3.5
    assert f"Within {float(slider.input_value()):.2f} MiB" in best.inner_text()


def test_the_slider_moves_the_cursor_through_both_charts_of_the_raster(desk):
    page, complaints = desk
    cursors = [
        page.locator(f"#raster-{name} .cursor_marks line, #raster-{name} .cursor_marks path")
        for name in ("layers", "bytes")
    ]
    slider = page.locator("#raster-controls [name=event]")
    places = []
    for event in (10, 100):
        slider.evaluate(
            f"slider => {{ slider.value = {event}; slider.dispatchEvent(new Event('input', {{ bubbles: true }})); }}"
        )
        page.wait_for_function(f"document.querySelector('#raster-now').textContent.startsWith('Event {event} of')")
        page.wait_for_timeout(100)
        places.append([cursor.first.bounding_box()["x"] for cursor in cursors])
    (layers, nbytes), (layers_after, bytes_after) = places
    assert layers == pytest.approx(nbytes, abs=1)
    assert layers_after == pytest.approx(bytes_after, abs=1)
    assert layers_after - layers > 100
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('#raster-now').textContent.startsWith('Event 101 of')")
    assert complaints == []


def test_a_table_sorts_filters_and_downloads(desk):
    page, complaints = desk
    details = page.locator("#all-tables details", has_text="depth_by_frequency / memory").first
    details.locator("summary").press("Enter")
    status = details.locator("[role=status]")
    assert status.inner_text() == "rows 1 to 25 of 40"
    details.get_by_label("filter depth", exact=True).fill(">=64")
    details.get_by_label("filter checkpoint_frequency").fill("=8")
    assert status.inner_text() == "rows 1 to 2 of 2, filtered from 40"
    heading = details.get_by_role("button", name="memray_peak_bytes")
    heading.click()
    heading.click()
    assert details.locator("th[aria-sort=descending] button").inner_text() == "memray_peak_bytes"
    assert details.locator("tbody tr td:nth-child(4)").all_inner_texts() == ["128", "64"]
    with page.expect_download() as download:
        details.get_by_role("button", name="Download CSV").click()
    header, first, second = Path(download.value.path()).read_text().splitlines()
    written = (ROOT / "results/depth_by_frequency/memory.csv").read_text().splitlines()
    assert header == written[0]
    assert {first, second} <= set(written)
    assert complaints == []


def test_every_control_and_every_chart_has_a_name(desk):
    page, _ = desk
    for control in page.locator("main select, main input, main button, main summary").all():
        name = control.evaluate("one => one.ariaLabel || one.labels?.[0]?.textContent || one.textContent")
        assert name.strip(), control.evaluate("one => one.outerHTML")
    for drawing in page.locator(".drawing svg.marks").all():
        assert len(drawing.get_attribute("aria-label")) > 40
