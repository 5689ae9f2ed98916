"""Every numbered equation holds, every misprint fails, and the page shows what was proved."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import equations

ROOT = Path(__file__).parents[1]
EQUATIONS = equations.load()
MISPRINTS = [
    pytest.param(e, m, id=f"{e.label}: {m.name}") for e in EQUATIONS.values() for m in e.misprints
]
DISPLAY = re.compile(r"^```\{math\}\n((?::\w+:[^\n]*\n)*)(.*?)^```", re.M | re.S)


def page_displays(text: str) -> dict[str | None, str]:
    """Return label -> LaTeX of each display of a page; scratch displays share the key None."""
    found: dict[str | None, str] = {}
    for options, latex in DISPLAY.findall(text):
        label = re.search(r":label: (\S+)", options)
        assert label or ":class: scratch" in options, f"neither label nor scratch: {latex!r}"
        found[label[1] if label else None] = " ".join(latex.split())
    return found


@pytest.mark.parametrize("equation", EQUATIONS.values(), ids=EQUATIONS.keys())
def test_equation_holds(equation: equations.Equation) -> None:
    verdict, seen = equations.holds(equation)
    assert verdict, seen


@pytest.mark.parametrize(("equation", "misprint"), MISPRINTS)
def test_misprint_fails(equation: equations.Equation, misprint: equations.Misprint) -> None:
    assert equations.caught(equation, misprint), "the test would not see this misprint"


def test_every_equation_has_a_misprint() -> None:
    bare = [e.label for e in EQUATIONS.values() if e.kind != "definition" and not e.misprints]
    assert bare == []


def test_at_most_a_quarter_are_definitions() -> None:
    definitions = sum(e.kind == "definition" for e in EQUATIONS.values())
    assert definitions <= len(EQUATIONS) / 4


def test_pages_print_what_is_proved() -> None:
    printed: dict[str | None, str] = {}
    for page in sorted((ROOT / "book").glob("[0-9][0-9]_*.md")):
        printed |= page_displays(page.read_text(encoding="utf-8"))
    printed.pop(None, None)
    assert printed == {label: " ".join(e.latex.split()) for label, e in EQUATIONS.items()}


def test_a_display_without_label_or_scratch_is_seen() -> None:
    with pytest.raises(AssertionError, match="neither label nor scratch"):
        page_displays("```{math}\nx = 1\n```\n")
