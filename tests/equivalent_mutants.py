"""Mutants that compute the same: (function, change) -> the reason in one line."""

EQUIVALENT: dict[tuple[str, str], str] = {
    ("expected_return", "d0 @ V -> V @ d0"): "the inner product is symmetric",
}
