"""What an argument must be: every error names the argument, its condition and its value."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SUM_TOLERANCE = 1e-9  # how far probabilities may be from summing to 1


def as_numbers(name: str, values: ArrayLike, shape: tuple[int | None, ...], axes: str) -> Floats:
    """Return a float64 copy of `values` if it is finite and fits `shape` (None fits any size).

    Args:
        name: what the argument is called, for the message.
        values: numbers.
        shape: the wanted shape.
        axes: the shape in letters, such as "[S, A]", for the message.

    Raises:
        ValueError: not numbers, another shape, or an entry that is not finite.
    """
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be numbers of shape {axes}, got {values!r:.60}") from None
    fits = len(shape) == array.ndim and all(
        got == want or (want is None and got > 0)
        for got, want in zip(array.shape, shape, strict=True)
    )
    if not fits:
        known = "" if None in shape else f" = {shape}"
        raise ValueError(f"{name} must have shape {axes}{known}, got {array.shape}")
    if not np.isfinite(array).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"{name} must be finite, got {array[index]} at {list(index)}")
    return array


def as_distribution(
    name: str, values: ArrayLike, shape: tuple[int | None, ...], axes: str
) -> Floats:
    """Return a float64 copy of `values` if each row of its last axis is a distribution.

    Args and errors are those of `as_numbers`; further, entries must be at least 0 and sum to 1
    over the last axis within 1e-9.
    """
    array = as_numbers(name, values, shape, axes)
    if (array < 0).any():
        index = tuple(int(i) for i in np.argwhere(array < 0)[0])
        raise ValueError(f"{name} must be at least 0, got {array[index]} at {list(index)}")
    sums = array.sum(axis=-1)
    if (np.abs(sums - 1) > SUM_TOLERANCE).any():
        index = tuple(int(i) for i in np.argwhere(np.abs(sums - 1) > SUM_TOLERANCE)[0])
        where = f" at {list(index)}" if index else ""
        raise ValueError(f"{name} must sum to 1 over its last axis, got {sums[index]:.12g}{where}")
    return array
