"""The gate of the book refuses each way in which pages and proofs can come apart."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "book" / "_ext"))

pytest.importorskip("sphinx", reason="the book's packages are not installed")

from pgbook import Display, differences  # type: ignore[import-not-found]

from tests.equations import Equation

REGISTRY = {"sum": Equation("sum", r"\sum_t x_t = 1", "equation", 1)}
GOOD = Display("sum", "\n\\sum_t x_t\n  = 1\n", scratch=False, line=3)


def complaints(*displays: Display, page: str = "book/01_mdp") -> list[str]:
    return [message for _, message in differences({page: list(displays)}, REGISTRY)]


def test_the_same_latex_passes_whatever_its_white_space() -> None:
    scratch = Display(None, "x = 1", scratch=True, line=9)
    assert complaints(GOOD, scratch) == []


@pytest.mark.parametrize(
    ("display", "said"),
    [
        (GOOD._replace(latex=r"\sum_t x_t = 2"), "differs from what its check proves"),
        (GOOD._replace(label="other"), "has no check"),
        (GOOD._replace(label=None), "needs a label"),
    ],
)
def test_a_page_that_differs_is_refused(display: Display, said: str) -> None:
    assert any(said in message for message in complaints(display))


def test_an_equation_missing_from_its_page_is_refused() -> None:
    assert complaints() == ["equation 'sum' has a check, but page book/01_* does not show it"]


def test_an_equation_on_another_page_is_refused() -> None:
    assert complaints(GOOD, page="book/02_policies") == [
        "equation 'sum' is registered for chapter 1"
    ]
