"""Mutants that compute the same: (function, change) -> the reason in one line."""

SYMMETRIC = "the inner product is symmetric"
ONE_AXIS = "the exercise asks for one number x, so the new axis is the only one"
ONE_PATH = "the exercise gives one trajectory, whose table has no axis but 0 and 1"

EQUIVALENT: dict[tuple[str, str], str] = {
    (
        "rollout",
        "min(k, np.flatnonzero(probs)[-1]) -> min(np.flatnonzero(probs)[-1], k)",
    ): "the smaller of two whole numbers, in either order",
    ("expected_return", "d0 @ V -> V @ d0"): SYMMETRIC,
    (
        "exact_variance",
        "probs @ (deviations ** 2).sum(axis=1) -> (deviations ** 2).sum(axis=1) @ probs",
    ): SYMMETRIC,
    (
        "exact_variance",
        "np.asarray(probs) @ (deviations ** 2).sum(axis=1)"
        " -> (deviations ** 2).sum(axis=1) @ np.asarray(probs)",
    ): SYMMETRIC,
    (
        "gaussian_score",
        "np.stack([z, z ** 2 - 1], axis=-1) -> np.stack([z, z ** 2 - 1])",
    ): ONE_AXIS,
    ("gaussian_score", "1 -> 0"): ONE_AXIS,
    ("grad_log_prob_trajectory", "-1 -> 1"): ONE_PATH,
}
