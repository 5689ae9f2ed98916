"""The pages keep the notation contract, and their figures, words and links are cared for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

BOOK = Path(__file__).parents[1] / "book"
PAGES = sorted(BOOK.glob("*.md"))
CHAPTER_PAGES = sorted(BOOK.glob("[0-9][0-9]_*.md"))
RULES = {
    "an expectation without a law": re.compile(r"\\E(?![a-zA-Z])(?!_)"),
    "log typed as letters": re.compile(r"(?<![\\a-zA-Z])log(?![a-zA-Z-])"),
    "r_{t+1} for the reward of step t": re.compile(r"r_\{?t\s*\+\s*1"),
    "an integral without a measure": re.compile(r"\\int(?!.*(\\,\s*(\\mathrm\{d\}|\\dd|d)))", re.S),
}
WEASEL = re.compile(r"\b(simply|obviously|clearly|trivially)\b", re.I)


def mathematics(text: str) -> list[str]:
    """Return every formula of a page: displays, and what stands between dollars."""
    displays = re.findall(r"^```\{math\}\n(?::[^\n]*\n)*(.*?)^```", text, re.M | re.S)
    prose = re.sub(r"^(```+|~~~+).*?^\1", "", text, flags=re.M | re.S)
    prose = re.sub(r"`[^`\n]*`", "", prose)
    return displays + re.findall(r"\$([^$]+)\$", prose)


def broken_rules(formula: str) -> list[str]:
    return [rule for rule, pattern in RULES.items() if pattern.search(formula)]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_mathematics_keeps_the_notation_contract(page: Path) -> None:
    if page.stem == "errata":
        pytest.skip("quotes the slips of the sources")
    for formula in mathematics(page.read_text(encoding="utf-8")):
        assert broken_rules(formula) == [], formula


@pytest.mark.parametrize(
    "formula",
    [r"\E[R(\tau)]", r"log \pi(a)", r"\text{log}~x", r"\sum_t r_{t+1}", r"\int p(x) f(x)"],
)
def test_a_broken_contract_is_seen(formula: str) -> None:
    assert broken_rules(formula)


def test_mathematics_is_found_in_displays_and_in_text() -> None:
    text = "a $x$ b\n\n```{math}\n:label: y\nz\n```\n\n```python\n$no$\n```\n"
    assert mathematics(text) == ["z\n", "x"]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_pages_use_displays_by_directive_and_no_weasel_words(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "$$" not in text
    assert not WEASEL.findall(text)


@pytest.mark.parametrize("page", CHAPTER_PAGES, ids=lambda p: p.stem)
def test_figures_have_captions_and_alternative_text(page: Path) -> None:
    for options, code in re.findall(
        r"^```\{code-cell\} python\n(---\n.*?^---\n)?(.*?)^```",
        page.read_text("utf-8"),
        re.M | re.S,
    ):
        if "plt.subplots" in code or "plt.figure" in code:
            assert "caption:" in options, code
            assert re.search(r"alt: ?.{30}", options), code


@pytest.mark.parametrize("page", CHAPTER_PAGES, ids=lambda p: p.stem)
def test_code_fits_the_width_of_a_page(page: Path) -> None:
    cells = re.findall(
        r"^```\{code-cell\} python\n(?:---\n.*?^---\n)?(.*?)^```",
        page.read_text("utf-8"),
        re.M | re.S,
    )
    wide = [line for cell in cells for line in cell.splitlines() if len(line) > 80]
    assert wide == []


@pytest.mark.parametrize("page", CHAPTER_PAGES, ids=lambda p: p.stem)
def test_chapters_have_the_form_of_a_chapter(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.M)
    assert "Quiz" in headings
    assert any(h.startswith("Exercise") for h in headings)
    assert headings[-1] == "Recap"
    recap = text.split("## Recap\n")[1].strip()
    assert len(re.findall(r"^- ", recap, re.M)) <= 5
    if page.stem != "00_start":
        assert any("go wrong" in h for h in headings)
    assert text.count(":::{quiz}") >= 2
    for options in re.findall(r"^:::\{quiz\}.*?^:::", text, re.M | re.S):
        assert options.count("- [x]") == 1
        assert len(re.findall(r"^- \[[ x]\] .+\n  \S", options, re.M)) == options.count("- [")


def test_every_symbol_of_the_notation_table_points_to_an_equation() -> None:
    rows = re.findall(
        r"^\* - \$.*?(?=^\* -|^```)", (BOOK / "notation.md").read_text("utf-8"), re.M | re.S
    )
    assert len(rows) > 15
    for row in rows:
        assert "{eq}`" in row, row


def test_no_symbol_stands_twice_in_the_notation_table() -> None:
    symbols = re.findall(r"^\* - (\$.*)$", (BOOK / "notation.md").read_text("utf-8"), re.M)
    assert len(symbols) == len(set(symbols))


def test_the_map_of_the_course_lists_every_chapter() -> None:
    index = (BOOK / "index.md").read_text(encoding="utf-8")
    assert re.findall(r"\((\d\d_\w+)\.md\)", index.split("## How to read")[0]) == [
        p.stem for p in CHAPTER_PAGES
    ]
