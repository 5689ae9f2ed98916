"""Isolation layers."""

from __future__ import annotations

from typing import NamedTuple


class Layer(NamedTuple):
    """One layer of isolation: its name, whether it is in force, and if not, why."""

    name: str
    in_force: bool
    why_not: str = ""
