"""Checks of chapter 0: one exercise, to meet the checks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pgcourse.checks.core import Exercise, compare_text


def hello_grader(name: str) -> str:
    """Greet `name`."""
    return f"Hello, {name}!"


def _inputs(rng: np.random.Generator) -> Iterator[tuple[str]]:
    for name in ("Ada", "Emmy Noether", "ada", "Çelik", "Kurt  Gödel ", "O'Neil", ""):
        yield (name,)
    yield ("".join(rng.choice(list("abcdefgh"), size=6)),)


HELLO = Exercise("hello_grader", hello_grader, _inputs, compare=compare_text)


@HELLO.mistake("same answer for everyone", "sec-first-check", [lambda name: "Hello, name!"])
def _same(name: str) -> str:
    """Your answer is the same whoever asks. The check calls your function with many names: use
    the argument."""
    return "Hello, Ada!"


@HELLO.mistake(
    "name changed on the way",
    "sec-first-check",
    [
        lambda name: f"Hello, {name.title()}!",
        lambda name: f"Hello, {name.capitalize()}!",
        lambda name: f"Hello, {name.strip().title()}!",
    ],
)
def _tidied(name: str) -> str:
    """Greet the name as it was given: no other capitals, no spaces taken away."""
    return f"Hello, {name.strip()}!"


@HELLO.mistake(
    "f prefix forgotten",
    "sec-first-check",
    [
        lambda name: "Hello, {name}",
        lambda name: "Hello {name}!",
        lambda name: "Hello {name}",
        lambda name: "hello, {name}!",
        lambda name: "Hello, {}!",
        lambda name: "Hello, {0}!",
        lambda name: "Hello, %s!",
    ],
)
def _braces(name: str) -> str:
    """The braces stand in your answer as they are. Only a text with an f before its opening quote
    mark replaces {name} by the value: f"Hello, {name}!"."""
    return "Hello, {name}!"


@HELLO.mistake("capital H", "sec-first-check", [lambda name: f"HELLO, {name}!"])
def _small(name: str) -> str:
    """All is there but the case: "Hello" has a capital H, and small letters after it."""
    return f"hello, {name}!"


@HELLO.mistake(
    "punctuation",
    "sec-first-check",
    [
        lambda name: f"Hello, {name}",
        lambda name: f"Hello {name}",
        lambda name: f"Hello,{name}!",
        lambda name: f"Hello, {name}.",
        lambda name: f"Hello, {name} !",
        lambda name: f"Hello,  {name}!",
        lambda name: f"Hello, {name}!\n",
        lambda name: f"hello {name}",
        lambda name: f"hello {name}!",
        lambda name: f"hello, {name}",
    ],
)
def _no_comma(name: str) -> str:
    """A capital H, a comma and one space after "Hello", an exclamation mark after the name, and
    nothing else: "Hello, Ada!"."""
    return f"Hello {name}!"


EXERCISES = (HELLO,)
