"""Checks of chapter 3."""

from __future__ import annotations

from pgcourse.checks.core import Exercise

EXERCISES: tuple[Exercise, ...] = ()
