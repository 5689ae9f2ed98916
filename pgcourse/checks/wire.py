"""What a check and a function say to each other: typed frames, data only, never a pickle.

A *request* names a function and carries its arguments; an *answer* carries arrays. Both sides of
a process boundary use these types, and so does the check inside one process.
"""

from __future__ import annotations

import math
import numbers
import sys
from typing import Any

import msgspec
import numpy as np

DTYPES = {"float64", "float32", "float16", "bfloat16", "bool"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}

MOST_AXES = 32


class Array(msgspec.Struct, tag_field="kind", tag="array", frozen=True):
    """A dense array in row-major order; `dtype` is one of `DTYPES`."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


class Number(msgspec.Struct, tag_field="kind", tag="number", frozen=True):
    """A plain Python number or truth value."""

    value: bool | int | float


class Text(msgspec.Struct, tag_field="kind", tag="text", frozen=True):
    """A string."""

    text: str


class Items(msgspec.Struct, tag_field="kind", tag="items", frozen=True):
    """A list or a tuple, possibly ragged."""

    items: list[Value]


class Blank(msgspec.Struct, tag_field="kind", tag="blank", frozen=True):
    """Nothing: "None", or "..." where the student has not begun."""

    what: str


class Other(msgspec.Struct, tag_field="kind", tag="other", frozen=True):
    """Something that is not data: the name of its type crosses the wire, and what a set holds.

    A set has no order, so it is no array; only a comparison that asks for none reads its items.
    """

    type: str
    items: list[Value] = []


Value = Array | Number | Text | Items | Blank | Other


class Request(msgspec.Struct, frozen=True):
    """Call `name(*args)`; with `gradient_of`, also pull `cotangent` back to those arguments.

    With `fresh`, the holder afterwards overwrites its arguments to see whether the result follows.
    A call may take `patience` times as long as others: whoever trains needs longer.
    """

    name: str
    args: list[Value]
    gradient_of: list[int] = []
    cotangent: Value | None = None
    fresh: bool = False
    patience: float = 1.0


class Returned(msgspec.Struct, tag_field="kind", tag="returned", frozen=True):
    """What came back, and what else happened: inputs changed, an earlier result overwritten."""

    value: Value
    gradients: list[Value] = []
    changed: list[int] = []
    stale: bool = False
    shares: bool = False


class Raised(msgspec.Struct, tag_field="kind", tag="raised", frozen=True):
    """The function raised; `line` is the line of the student's code that did."""

    type: str
    message: str
    line: str = ""


class Unusable(msgspec.Struct, tag_field="kind", tag="unusable", frozen=True):
    """There is nothing to call: no such function, or one with other arguments."""

    reason: str


Answer = Returned | Raised | Unusable


def encode(value: Any) -> Value:
    """Turn what a function returned into data; what is not data becomes `Other`."""
    if value is None or value is Ellipsis:
        return Blank("None" if value is None else "...")
    if isinstance(value, str):
        return Text(str(value))
    if isinstance(value, (bool, int, float)) and type(value).__module__ == "builtins":
        return _encode_number(value)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return _encode_tensor(value, torch)
    if isinstance(value, (list, tuple)):
        return _encode_items(value)
    if isinstance(value, (set, frozenset)):
        return Other(type(value).__name__, [encode(x) for x in value])
    if isinstance(value, numbers.Real) and not isinstance(value, np.generic):
        return Number(float(value))
    if isinstance(value, np.generic) or hasattr(value, "__array__"):
        return _encode_array(np.asarray(value), value)
    return Other(type(value).__name__)


def _encode_number(value: bool | int | float) -> Value:
    small = not isinstance(value, int) or -(2**63) <= value < 2**63
    return Number(value) if small else Number(math.inf if value > 0 else -math.inf)


def _encode_tensor(value: Any, torch: Any) -> Value:
    value = value.detach().cpu().resolve_conj().resolve_neg()
    if value.dtype == torch.bfloat16:
        floats = _encode_array(value.float().numpy(), value)
        return Array("bfloat16", floats.shape, floats.data) if isinstance(floats, Array) else floats
    return _encode_array(value.numpy(), value)


def _encode_array(array: np.ndarray, value: Any) -> Value:
    if array.dtype == object and array.ndim:
        return encode(array.tolist())
    if array.dtype == np.longdouble:
        array = array.astype(np.float64)
    name = array.dtype.name
    if name not in DTYPES:
        return Other(f"{type(value).__name__} of {name}")
    plain = np.asarray(array, dtype=array.dtype.newbyteorder("="))
    return Array(name, plain.shape, plain.tobytes())


def _encode_items(value: list[Any] | tuple[Any, ...]) -> Value:
    kinds = {type(x) for x in value}
    if len(kinds) == 1 and issubclass(kind := kinds.pop(), (float, np.number)):
        return _encode_array(np.array(value, dtype=kind), value)  # one array, not many numbers
    return Items([encode(x) for x in value])


def decode(value: Value) -> Any:
    """Turn data into Python and NumPy values; an ill-formed array raises ValueError."""
    if isinstance(value, Array):
        return _decode_array(value)
    if isinstance(value, Items):
        return [decode(x) for x in value.items]
    if isinstance(value, Number):
        return value.value
    if isinstance(value, Text):
        return value.text
    return None


def _decode_array(value: Array) -> np.ndarray:
    if value.dtype not in DTYPES:
        raise ValueError(f"array must have one of the known dtypes, got {value.dtype:.20}")
    if len(value.shape) > MOST_AXES or not all(0 <= n < 2**31 for n in value.shape):
        raise ValueError(f"array must have a shape that is possible, got {len(value.shape)} axes")
    dtype = np.dtype("float32" if value.dtype == "bfloat16" else value.dtype)
    size = math.prod(value.shape)  # of few small numbers: a product of many takes hours
    if size * dtype.itemsize != len(value.data):
        raise ValueError(f"array of shape {value.shape} must have {size} entries")
    return np.frombuffer(value.data, dtype=dtype).reshape(value.shape).copy()
