"""Correct answers of chapter 0."""

from __future__ import annotations

from typing import Any


def joined(name: Any) -> Any:
    return "".join(["Hello, ", name, "!"])


def percent(name: Any) -> Any:
    return "Hello, %s!" % name  # noqa: UP031


VARIANTS = {"hello_grader": [joined, percent, lambda name: "Hello, {}!".format(name)]}  # noqa: UP032
