from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.browser.conftest import Browser
from tests.unit.reporting import made_run
from tests.unit.reporting.made_run import HOSTILE, history, report_data

from luthier.reporting.report import render, write_report

pytestmark = pytest.mark.browser

Write = Callable[[str], str]

OVERFLOWING = """
const wide = [];
for (const one of document.body.querySelectorAll("*")) {
  if (one.closest(".box, pre, code, svg, .skip")) continue;
  const place = one.getBoundingClientRect();
  if (place.width && (place.right > innerWidth + 0.5 || place.left < -0.5)) wide.push(one.outerHTML.slice(0, 120));
}
return [document.documentElement.scrollWidth - innerWidth, wide];
"""
CHARTS = """
return Array.from(document.querySelectorAll("svg[role=img]")).map(one => {
  const place = one.getBoundingClientRect();
  const painted = Array.from(one.querySelectorAll("rect, circle, polyline, line")).filter(mark => {
    const style = getComputedStyle(mark), box = mark.getBBox();
    return (style.fill !== "none" || style.stroke !== "none") && box.width + box.height > 0;
  });
  const outside = Array.from(one.querySelectorAll("text")).filter(text => {
    const own = text.getBoundingClientRect();
    return own.left < place.left - 8 || own.right > place.right + 8;
  });
  return {kind: one.dataset.chart, width: place.width, height: place.height, marks: painted.length,
          texts: one.querySelectorAll("text").length, outside: outside.map(text => text.textContent)};
});
"""
CONTRAST = """
const light = colour => {
  const [r, g, b] = colour.match(/[0-9.]+/g).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const paper = light(getComputedStyle(document.body).backgroundColor);
const ratio = one => {
  const ink = light(getComputedStyle(one).color);
  return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
};
const shown = Array.from(document.querySelectorAll("p, td, th, h1, h2, h3, dt, dd, a, summary, figcaption, b, small"))
  .filter(one => !one.closest(".badge") && one.getBoundingClientRect().width);
return Math.min(...shown.map(ratio));
"""


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_report_opens_quietly_with_every_chart(browser: Browser, tmp_path: Path, language: str, theme: str) -> None:
    data = report_data(language)
    path = tmp_path / "run" / "report.html"
    write_report(made_run.write_run(tmp_path / "run", data), data.plan, path)
    browser.open(path.as_uri(), theme=theme)
    assert browser.requests() == [path.as_uri()]
    assert browser.complaints() == []
    assert browser.run("return document.documentElement.dataset.theme") == theme
    charts = browser.run(CHARTS)
    assert [one["kind"] for one in charts].count("line") == 4
    assert {one["kind"] for one in charts} == {"line", "bars", "confusion", "reliability", "lengths"}
    for one in charts:
        assert one["width"] > 300, one
        assert one["height"] > 90, one
        assert one["marks"] >= 3, one
        assert one["texts"] >= 3, one
        assert one["outside"] == [], one
    assert browser.run(CONTRAST) >= 4.5


def test_the_log_sees_requests_and_errors(browser: Browser, page: Write) -> None:
    """The tests above would be worth nothing if the logs were blind."""
    browser.open(page("<img src='file:///nowhere/at-all.png'><script>throw new Error('seen')</script>"))
    assert "file:///nowhere/at-all.png" in browser.requests()
    assert any("seen" in one for one in browser.complaints())


@pytest.mark.parametrize("language", ["en", "zh"])
def test_nothing_is_wider_than_a_phone(browser: Browser, page: Write, language: str) -> None:
    labels = ("negative", "a_label_without_any_space_that_is_far_too_long_for_a_phone", "正面", HOSTILE)
    browser.open(page(render(report_data(language, labels))), width=390, height=844)
    beyond, wide = browser.run(OVERFLOWING)
    assert (beyond, wide) == (0, [])
    browser.run("document.querySelectorAll('details').forEach(one => { one.open = true })")
    beyond, wide = browser.run(OVERFLOWING)
    assert (beyond, wide) == (0, [])
    assert browser.complaints() == []


def test_the_button_changes_the_theme_and_back(browser: Browser, page: Write) -> None:
    browser.open(page(render(report_data())))
    paper = "return getComputedStyle(document.body).backgroundColor"
    light = browser.run(paper)
    button = browser.driver.find_element("css selector", ".theme")
    button.click()
    dark = browser.run(paper)
    assert dark != light
    assert browser.run("return document.documentElement.dataset.theme") == "dark"
    assert button.get_attribute("aria-pressed") == "true"
    browser.driver.refresh()
    assert browser.run(paper) == dark  # remembered
    browser.driver.find_element("css selector", ".theme").click()
    assert browser.run(paper) == light
    assert browser.complaints() == []


def test_texts_of_users_do_nothing(browser: Browser, page: Write) -> None:
    data = report_data(labels=(HOSTILE, "positive"), choices={HOSTILE: {"value": HOSTILE, "reason": HOSTILE}})
    address = page(render(data))
    browser.open(address)
    assert browser.run("return window.broken === undefined")
    assert browser.run("return document.title").startswith("movie-sentiment")
    assert browser.requests() == [address]
    assert browser.complaints() == []
    assert browser.run("return document.querySelector('.examples').textContent").count("window.broken = 1") >= 1


def test_even_a_script_that_slipped_through_would_not_run(browser: Browser, page: Write) -> None:
    html = render(report_data()).replace("<footer>", "<script>window.broken = 1</script><footer>")
    browser.open(page(html))
    assert browser.run("return window.broken === undefined")
    assert any("Content Security Policy" in one for one in browser.complaints())


def test_a_large_report_is_drawn_and_its_matrix_scrolls_in_its_box(browser: Browser, page: Write) -> None:
    labels = tuple(f"intent {i:02d}" for i in range(50))
    browser.open(page(render(report_data(labels=labels, history=tuple(history(100_000, 4))))), width=390, height=844)
    beyond, wide = browser.run(OVERFLOWING)
    assert (beyond, wide) == (0, [])
    box = "const box = document.querySelector('[data-chart=confusion]').closest('.box'); "
    assert browser.run(f"{box} return box.scrollWidth > 2 * box.clientWidth")


def test_a_print_shows_what_was_folded(browser: Browser, page: Write) -> None:
    browser.open(page(render(report_data())), theme="dark")
    browser.run("window.dispatchEvent(new Event('beforeprint'))")
    folded = "return document.querySelectorAll('details:not([open]):not(figure details)').length"
    assert browser.run(folded) == 0
    assert browser.run("return document.documentElement.dataset.theme") == "light"
    browser.run("window.dispatchEvent(new Event('afterprint'))")
    assert browser.run(folded) > 2
    assert browser.run("return document.documentElement.dataset.theme") == "dark"
