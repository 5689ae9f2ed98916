"""Checks of chapter 0: one exercise, to meet the checks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pgcourse.checks.core import Exercise, Mistake, compare_text

NAMES = ("Ada", "Emmy Noether", "ada", "Çelik", "Kurt  Gödel ", "O'Neil", "")


def hello_grader(name: str) -> str:
    """Greet `name`."""
    return f"Hello, {name}!"


def _inputs(rng: np.random.Generator) -> Iterator[tuple[str]]:
    for name in NAMES:
        yield (name,)
    yield ("".join(rng.choice(list("abcdefgh"), size=6)),)


HELLO = Exercise(
    "hello_grader",
    hello_grader,
    _inputs,
    (
        Mistake(
            "same answer for everyone",
            'Your answer is "Hello, Ada!" whoever asks. The check calls your function with many '
            "names: use the argument.",
            "sec-first-check",
            (lambda name: "Hello, Ada!", lambda name: "Hello, name!"),
        ),
        Mistake(
            "name changed on the way",
            "Greet the name as it was given: no other capitals, no spaces taken away.",
            "sec-first-check",
            (
                lambda name: f"Hello, {name.strip()}!",
                lambda name: f"Hello, {name.title()}!",
                lambda name: f"Hello, {name.capitalize()}!",
                lambda name: f"Hello, {name.strip().title()}!",
            ),
        ),
        Mistake(
            "punctuation",
            'A comma and a space after "Hello", an exclamation mark after the name: "Hello, Ada!".',
            "sec-first-check",
            (
                lambda name: f"Hello {name}!",
                lambda name: f"Hello, {name}",
                lambda name: f"Hello {name}",
                lambda name: f"Hello,{name}!",
                lambda name: f"Hello, {name}.",
                lambda name: f"hello, {name}!",
                lambda name: f"Hello, {name} !",
            ),
        ),
    ),
    compare_text,
)

EXERCISES = (HELLO,)
