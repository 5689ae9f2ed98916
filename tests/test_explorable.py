"""The explorable of chapter 3: every number it shows is the package's, however it is moved."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pgcourse.score_function import (
    bandit_gradient,
    bandit_pathwise_variance,
    bandit_score_variance,
    gaussian_score,
    score_function_gradient,
)
from tests.test_browser import HTML, PHONE, Visit, browser, missing

__all__ = ["browser"]  # the fixture

PAGE = "book/03_score_function.html"
TARGET = 1.0
BOX = '.pg-explorable[data-kind="score"]'
RTOL = 1e-9


@pytest.fixture
def visit(browser: Any) -> Iterator[Visit]:
    if not (HTML / PAGE).exists():
        missing(f"the built book has no page {PAGE}")
    with Visit(browser, PAGE, mathematics=False) as visit:
        visit.page.locator(f"{BOX} svg").scroll_into_view_if_needed()
        yield visit


def expected(mean: float, std: float, z: Any) -> dict[str, float]:
    """Every number that the explorable shows, from the package."""
    x = mean + std * z
    f, scores = -((x - TARGET) ** 2), gaussian_score(x, mean, std)
    variance = bandit_score_variance(mean, std, TARGET)
    return {
        "estimate": score_function_gradient(f, scores)[0],
        "gradient": bandit_gradient(mean, std, TARGET)[0],
        "variance": variance,
        "error": np.sqrt(variance / len(z)),
        "pathwise": np.mean(-2 * (x - TARGET)),
        "pathwise-variance": bandit_pathwise_variance(std),
    }


def numbers(page: Any) -> dict[str, float]:
    found = page.eval_on_selector_all(
        f"{BOX} td[data-name]", "cells => cells.map(c => [c.dataset.name, c.dataset.value])"
    )
    return {name: float(value) for name, value in found}


def shown(page: Any) -> dict[str, float]:
    found = page.eval_on_selector_all(
        f"{BOX} td[data-name]", "cells => cells.map(c => [c.dataset.name, c.textContent])"
    )
    return {name: float(text.replace("−", "-")) for name, text in found}


def sliders(page: Any) -> tuple[float, float]:
    mean, std = page.locator(f"{BOX} input[type=range]").all()
    return float(mean.input_value()), float(std.input_value())


def samples(page: Any) -> Any:
    box = page.locator(BOX)
    z = np.array(json.loads(box.get_attribute("data-z")))
    return z[int(box.get_attribute("data-batch"))]


def differences(page: Any, mean: float, std: float) -> list[str]:
    """Name each number shown that is not the package's at this mean and std."""
    got, want = numbers(page), expected(mean, std, samples(page))
    assert got.keys() == want.keys()
    # A sum may cancel to nothing, so errors are relative to the size of what is added up.
    scale = {"estimate": want["error"], "pathwise": std, "gradient": 1e-3}
    wrong = [
        name
        for name in want
        if abs(got[name] - want[name]) > RTOL * max(abs(want[name]), scale.get(name, 0.0))
    ]
    x = mean + std * samples(page)
    pushes = -((x - TARGET) ** 2) * gaussian_score(x, mean, std)[:, 0]
    drawn = page.eval_on_selector_all(
        f"{BOX} circle.sample", "dots => dots.map(d => [+d.dataset.x, +d.dataset.push])"
    )
    if not np.allclose(drawn, np.stack([x, pushes], axis=1), rtol=RTOL, atol=1e-12):
        wrong.append("samples")
    rounded = shown(page)
    return wrong + [f"{n} as text" for n in want if abs(rounded[n] - want[n]) > 0.0051]


def test_the_samples_are_the_ones_that_the_chapter_draws(visit: Visit) -> None:
    z = json.loads(visit.page.locator(BOX).get_attribute("data-z"))
    np.testing.assert_array_equal(z, np.random.default_rng(3).standard_normal((8, 12)))
    assert visit.page.locator(BOX).get_attribute("data-target") == str(int(TARGET))


def test_the_numbers_follow_the_keyboard(visit: Visit) -> None:
    page = visit.page
    assert sliders(page) == (-1.0, 1.0)
    assert differences(page, -1.0, 1.0) == []
    mean, std = page.locator(f"{BOX} input[type=range]").all()
    mean.focus()
    for key in ["ArrowRight", "ArrowRight", "ArrowLeft", "PageUp", "End", "ArrowLeft", "Home"]:
        page.keyboard.press(key)
        assert differences(page, *sliders(page)) == [], key
    assert sliders(page)[0] == -3.0
    std.focus()
    for key in ["Home", "ArrowRight", "End", "PageDown"]:
        page.keyboard.press(key)
        assert differences(page, *sliders(page)) == [], key
    assert visit.errors == []
    assert visit.left == []


def drag(page: Any, to: float) -> None:
    """Take the handle with the mouse and carry it to x = `to`."""
    picture = page.locator(f"{BOX} svg").bounding_box()
    handle = page.locator(f"{BOX} .handle").bounding_box()
    y = handle["y"] + handle["height"] / 2
    page.mouse.move(handle["x"] + handle["width"] / 2, y)
    page.mouse.down()
    x = picture["x"] + picture["width"] * (10 + (to + 5) / 10 * 480) / 500
    page.mouse.move(x, y + 30, steps=7)
    page.mouse.up()


@pytest.mark.parametrize("to", [2.0, -2.5, 1.0])
def test_the_numbers_follow_the_handle(visit: Visit, to: float) -> None:
    drag(visit.page, to)
    mean, std = sliders(visit.page)
    assert mean == pytest.approx(to, abs=0.051)
    assert differences(visit.page, mean, std) == []


def test_the_handle_stops_at_the_ends_of_the_slider(visit: Visit) -> None:
    drag(visit.page, 4.9)
    assert sliders(visit.page)[0] == 3.0
    assert differences(visit.page, *sliders(visit.page)) == []
    visit.page.mouse.move(400, 400)  # the button is up: nothing follows the mouse any more
    assert sliders(visit.page)[0] == 3.0


def test_other_samples_are_drawn_by_the_button_and_come_round_again(visit: Visit) -> None:
    page = visit.page
    seen = []
    for _ in range(8):
        seen.append(numbers(page)["estimate"])
        assert differences(page, *sliders(page)) == []
        page.locator(f"{BOX} button").press("Enter")
    assert len(set(seen)) == 8
    assert numbers(page)["estimate"] == seen[0]


def arrow_length(page: Any, name: str) -> float:
    """Length of an arrow in units of x, from its path "M<from> <y>H<to>M..."."""
    path = page.locator(f"{BOX} path[data-name={name}]").get_attribute("d")
    start, end = path.removeprefix("M").split("M")[0].split("H")
    return (float(end) - float(start.split()[0])) / 48


@pytest.mark.parametrize("to", [-1.0, 0.5])
def test_arrows_are_as_long_as_their_numbers(visit: Visit, to: float) -> None:
    page = visit.page
    drag(page, to)
    units = page.locator(f"{BOX} .units")
    averages = float(units.get_attribute("data-averages"))
    for name in ("estimate", "gradient"):
        assert arrow_length(page, name) * averages == pytest.approx(numbers(page)[name], rel=RTOL)
    mean, std = sliders(page)
    z = samples(page)
    longest = np.argmax(np.abs((mean + std * z - TARGET) ** 2 * z))
    push = -((mean + std * z[longest] - TARGET) ** 2) * z[longest] / std
    unit = float(units.get_attribute("data-samples"))
    assert arrow_length(page, f"push-{longest}") * unit == pytest.approx(push, rel=RTOL)
    assert f"{unit:g} for samples, {averages:g} for averages" in units.text_content()


def test_a_number_of_another_position_would_be_noticed(visit: Visit) -> None:
    """Negative control: other arguments, a changed number, a moved sample, another text."""
    page = visit.page
    assert set(differences(page, -1.0, 1.0 + 1e-7)) >= {"estimate", "variance", "samples"}
    assert "gradient" in differences(page, -1.0 + 1e-7, 1.0)
    for selector, change, name in [
        ("td[data-name=error]", "c => c.dataset.value *= 1 + 1e-7", "error"),
        ("td[data-name=variance]", "c => c.textContent = '87.02'", "variance as text"),
        ("circle.sample >> nth=5", "c => c.dataset.push *= 1 + 1e-7", "samples"),
    ]:
        assert name not in differences(page, -1.0, 1.0)
        page.eval_on_selector(f"{BOX} {selector}", change)
        assert name in differences(page, -1.0, 1.0)


def test_a_screen_reader_hears_the_result_and_finds_names(visit: Visit) -> None:
    page = visit.page
    page.get_by_label("mean μ").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "s => document.querySelector(s).textContent.startsWith('Mean −0.95')",
        arg=f"{BOX} [role=status]",
    )
    assert page.locator(f"{BOX} [role=status]").get_attribute("aria-live") == "polite"
    picture = page.get_by_role("img", name="Samples of a Gaussian policy")
    assert picture.count() == 1
    assert "exact gradient 3.90" in page.locator(f"{BOX} svg desc").text_content()
    assert page.get_by_label("std σ").count() == 1


def test_the_explorable_fits_a_phone(visit: Visit) -> None:
    visit.page.set_viewport_size(PHONE)
    box = visit.page.locator(BOX)
    assert box.evaluate("b => b.scrollWidth - b.clientWidth") <= 0
    assert box.bounding_box()["x"] + box.bounding_box()["width"] <= PHONE["width"]
    handle = visit.page.locator(f"{BOX} .handle").bounding_box()
    assert min(handle["width"], handle["height"]) >= 24  # room for a finger


def test_touch_moves_the_mean(browser: Any) -> None:
    if not (HTML / PAGE).exists():
        missing(f"the built book has no page {PAGE}")
    context = browser.new_context(viewport=PHONE, has_touch=True)
    page = context.new_page()
    page.goto(f"{HTML.as_uri()}/{PAGE}")
    page.locator(f"{BOX} svg").scroll_into_view_if_needed()
    handle = page.locator(f"{BOX} .handle").bounding_box()
    x, y = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
    touch = context.new_cdp_session(page)
    for kind, points in [
        ("touchStart", [{"x": x, "y": y}]),
        ("touchMove", [{"x": x + 20, "y": y}]),
        ("touchMove", [{"x": x + 60, "y": y + 5}]),
        ("touchEnd", []),
    ]:
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    mean, std = sliders(page)
    assert mean > 0
    assert differences(page, mean, std) == []
    context.close()


def test_without_javascript_the_page_says_what_would_stand_there(browser: Any) -> None:
    if not (HTML / PAGE).exists():
        missing(f"the built book has no page {PAGE}")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{HTML.as_uri()}/{PAGE}")
    words = page.locator(BOX).inner_text()
    assert "needs JavaScript" in words
    assert "Fig." in words
    context.close()


def test_the_script_is_loaded_where_it_is_needed_and_is_small() -> None:
    if not (HTML / PAGE).exists():
        missing(f"the built book has no page {PAGE}")
    assert "explorables/score.js" in (HTML / PAGE).read_text(encoding="utf-8")
    assert "explorables/score.js" not in (HTML / "book/01_mdp.html").read_text(encoding="utf-8")
    folder = Path(__file__).parents[1] / "book/_static/explorables"
    assert sum(path.stat().st_size for path in folder.glob("score.*")) < 15_000
