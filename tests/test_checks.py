"""The checks: wrong answers get their names, right ones pass, data alone crosses the wire."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import pgcourse.checks
from pgcourse import CHAPTERS
from pgcourse.checks import core, show, wire
from pgcourse.checks.holder import Callee, Holder, Remote, read_frame
from tests import mutants, variants
from tests.equivalent_mutants import EQUIVALENT

EXERCISES = core.exercises()
MISTAKES = [
    pytest.param(e, m, id=f"{e.name}: {m.name}") for e in EXERCISES.values() for m in e.mistakes
]


def judge(exercise: core.Exercise, function: Callable[..., Any], seed: int = 0) -> core.Verdict:
    return core.examine(exercise, Holder({exercise.name: function}), seed)


@pytest.mark.parametrize(("exercise", "mistake"), MISTAKES)
def test_wrong_answer_is_caught_under_its_own_name(
    exercise: core.Exercise, mistake: core.Mistake
) -> None:
    for seed in range(4):
        for wrong in mistake.wrong:
            verdict = judge(exercise, wrong, seed)
            assert (verdict.status, verdict.mistake) == ("wrong", mistake.name)


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
def test_correct_variants_pass_as_lists_float32_and_tensors(exercise: core.Exercise) -> None:
    for name, function in variants.correct(exercise):
        for seed in range(4 if name.endswith("as it is") else 1):
            verdict = judge(exercise, function, seed)
            assert verdict.right, f"{name}: {show.as_text(verdict)}"


@pytest.mark.parametrize("name", EXERCISES)
def test_each_function_has_an_independent_variant(name: str) -> None:
    assert variants.independent().get(name)


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
def test_a_check_takes_less_than_a_second(exercise: core.Exercise) -> None:
    start = time.process_time()
    judge(exercise, exercise.reference)
    assert time.process_time() - start < 1


def test_mutants_are_rejected_or_listed_as_equivalent() -> None:
    survivors = {
        (m.function, m.change) for m in mutants.all_mutants() if not mutants.is_rejected(m)
    }
    assert survivors == EQUIVALENT.keys()


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
def test_general_mistakes_have_names(exercise: core.Exercise) -> None:
    assert judge(exercise, lambda *a: ...).status == "not attempted"
    assert judge(exercise, lambda *a: None).mistake == "returns nothing"
    assert judge(exercise, lambda: 0).mistake == "edit outside the blank"
    assert judge(exercise, lambda *a: object()).difference.stage == "type"  # type: ignore[union-attr]
    raising = judge(exercise, lambda *a: 1 / 0)
    assert raising.difference is not None
    assert "ZeroDivisionError" in raising.difference.text


def toy(x: Any) -> Any:
    """Twice x: the exercise on which the core itself is tried."""
    return 2 * np.asarray(x)


def toy_inputs(rng: np.random.Generator) -> Any:
    yield (np.array([1.0, 2.0]),)
    yield (rng.normal(size=3),)


TOY = core.Exercise("toy", toy, toy_inputs)


def test_a_changed_input_is_seen() -> None:
    def in_place(x: Any) -> Any:
        x *= 2
        return x

    assert judge(TOY, in_place).mistake == "changes its input"
    assert judge(TOY, toy).right


def test_a_shared_buffer_is_seen() -> None:
    buffer = np.zeros(9)

    def reused(x: Any) -> Any:
        out = buffer[: len(x)]
        out[:] = 2 * x
        return out

    assert judge(TOY, reused).mistake == "overwrites an earlier result"


def test_who_trains_may_take_longer() -> None:
    def slow(x: Any) -> Any:
        time.sleep(0.3)
        return toy(x)

    patient = core.Exercise("toy", toy, toy_inputs, patience=20)
    assert core.examine(patient, Holder({"toy": slow}, seconds=0.1)).right
    hasty = core.examine(TOY, Holder({"toy": slow}, seconds=0.1))
    assert hasty.mistake == "too slow"


def test_memory_of_earlier_calls_is_seen() -> None:
    calls: list[int] = []

    def counting(x: Any) -> Any:
        calls.append(1)
        return 2 * x + 1e-6 * (len(calls) == 3)

    assert judge(TOY, counting).mistake == "remembers earlier calls"


def test_an_answer_that_is_nearly_right_is_told_so() -> None:
    assert judge(TOY, lambda x: 2 * x + 1e-6).mistake == "close, but not exact"
    assert judge(TOY, lambda x: np.float64(np.float32(1.4) * x / 0.7)).mistake
    assert judge(TOY, lambda x: 2 * x + 1e-2).mistake is None
    assert judge(TOY, lambda x: 2 * x + (1e-6 if len(x) == 2 else 1)).mistake is None


def test_another_result_at_each_call_is_seen() -> None:
    rng = np.random.default_rng(0)
    assert judge(TOY, lambda x: x + rng.random()).mistake == "another result at each call"
    assert judge(TOY, lambda x: x + np.nan).mistake is None


def a_toy_with(*mistakes: core.Mistake) -> core.Exercise:
    return core.Exercise(
        "toy", toy, lambda rng: [(np.ones(n),) for n in (1, 2, 3, 4)], mistakes=[*mistakes]
    )


def test_signs_name_an_answer_only_where_no_imitation_does() -> None:
    catch_all = core.Mistake("any", "", "", (), lambda args, got, expected: True)
    thrice = core.Mistake("thrice", "", "", (lambda x: 3 * x,))
    exercise = a_toy_with(catch_all, thrice)
    assert judge(exercise, lambda x: 3 * x).mistake == "thrice"
    assert judge(exercise, lambda x: 3 * x if len(x) > 1 else 9 * x).mistake == "thrice"
    assert judge(exercise, lambda x: 3 * x if len(x) > 2 else 9 * x).mistake == "any"


def test_an_exception_names_an_answer_only_if_nothing_else_is_wrong() -> None:
    def too_far(x: Any) -> Any:
        return x[len(x)]

    exercise = a_toy_with(core.Mistake("too far", "", "", (too_far,)))
    assert judge(exercise, too_far).mistake == "too far"
    assert judge(exercise, lambda x: x[len(x)] if len(x) > 1 else 2 * x).mistake == "too far"
    assert judge(exercise, lambda x: x[len(x)] if len(x) > 1 else 3 * x).mistake is None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (5, "one number"),
        (True, "a truth value"),
        (("Hello", "Ada"), "a list"),
        (np.ones(2), "an array of numbers"),
        (np.ones(2) > 0, "truth values"),
        ("text", "text"),
        (map(str, []), "a map; wrap it in list(...)"),
    ],
)
def test_types_are_told_in_words(value: Any, words: str) -> None:
    assert core.describe(wire.encode(value)) == words


def test_a_page_that_is_not_built_is_said_to_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    verdict = judge(EXERCISES["hello_grader"], lambda name: "Hello, Ada!")
    monkeypatch.setattr(show, "BOOK", tmp_path / "missing")
    assert "(`make book` first)" in show.as_text(verdict)
    assert "<code>make book</code>" in show.as_html(verdict)
    monkeypatch.setattr(show, "BOOK", tmp_path)
    assert "make book" not in show.as_text(verdict)


def test_a_branch_that_returns_nothing_is_seen() -> None:
    def only_long(x: Any) -> Any:
        return 2 * x if len(x) > 2 else None

    assert judge(TOY, only_long).mistake == "returns nothing"


def test_an_answer_that_cannot_be_read_is_wrong() -> None:
    class Forger(Callee):
        def answer(self, request: wire.Request) -> wire.Answer:
            return wire.Returned(wire.Array("float64", (2,), b"too short"))

    verdict = core.examine(TOY, Forger())
    assert verdict.difference is not None
    assert "cannot be compared" in verdict.difference.text


def test_a_call_that_does_not_end_is_stopped_by_name() -> None:
    def endless(x: Any) -> Any:
        while True:
            pass

    verdict = core.examine(TOY, Holder({"toy": endless}, seconds=0.2))
    assert verdict.mistake == "too slow"
    assert core.examine(TOY, Holder({"toy": toy}, seconds=0.2)).right


def test_a_view_of_the_input_is_seen_where_it_matters() -> None:
    same = core.Exercise("toy", lambda x: x, toy_inputs, fresh=True)
    assert judge(same, lambda x: x).mistake == "shares memory with its input"
    assert judge(same, lambda x: x.copy()).right


def test_a_missing_gradient_is_a_named_mistake() -> None:
    graded = core.Exercise("toy", lambda x: np.asarray(x) ** 2, toy_inputs, gradient_of=(0,))
    assert judge(graded, lambda x: x**2).right
    assert judge(graded, lambda x: (x**2).detach()).mistake == "no gradient"
    assert judge(graded, lambda x: x.detach() * x).mistake == "no gradient"  # half of it
    assert judge(graded, lambda x: (x**2).detach().numpy()).mistake == "no gradient"


def test_a_gradient_that_must_not_flow_is_a_named_mistake() -> None:
    def two_inputs(rng: np.random.Generator) -> Any:
        yield np.array([1.0, 2.0]), np.array([3.0, 4.0])
        yield rng.normal(size=3), rng.normal(size=3)

    weighed = core.Exercise(
        "toy", lambda x, w: np.asarray(x) * w, two_inputs, gradient_of=(0,), blocked=(1,)
    )
    assert judge(weighed, lambda x, w: x * w.detach()).right
    leaking = judge(weighed, lambda x, w: x * w)
    assert leaking.mistake == "no stop-gradient"
    assert judge(weighed, lambda x, w: x.detach() * w.detach()).mistake == "no gradient"
    wrong_shape = judge(weighed, lambda x, w: (x * w.detach())[:1])
    assert wrong_shape.difference is not None
    assert wrong_shape.difference.stage == "shape"


def test_an_answer_may_be_judged_by_what_it_does() -> None:
    def positive(args: tuple[Any, ...], got: wire.Value) -> core.Difference | None:
        good = (core.to_array(got)[0] > 0).all()
        return None if good else core.Difference("value", "not positive")

    free = core.Exercise("toy", lambda x: 1.0, toy_inputs, accepts=positive)
    assert judge(free, lambda x: 17.0).right
    assert not judge(free, lambda x: -1.0).right


@pytest.mark.parametrize(
    ("answer", "stage"),
    [
        ([2.0, 4.0, 6.0], "shape"),
        ([[2.0, 4.0]], "shape"),
        (["2", "4"], "type"),
        ([True, False], "type"),
        ([2.0, [4.0]], "type"),
        ([2.0, float("nan")], "finite"),
        ([2.0, float("inf")], "finite"),
        ([2.0, 4.0 + 1e-7], "value"),
        (2.0 + 0j, "type"),
        ({"a": 2.0}, "type"),
        ((x for x in [2.0, 4.0]), "type"),
    ],
)
def test_differences_name_their_stage(answer: Any, stage: str) -> None:
    difference = core.compare_arrays(np.array([2.0, 4.0]), wire.encode(answer))
    assert difference is not None
    assert difference.stage == stage


def test_tolerance_follows_the_type_of_the_result() -> None:
    def close(x: Any) -> bool:
        return core.compare_arrays(np.array([1.0, 100.0]), wire.encode(x)) is None

    assert close(np.array([1.0 + 5e-8, 100.0]))
    assert not close(np.array([1.0 + 5e-7, 100.0]))
    assert close(np.array([1.0 + 5e-3, 100.0], dtype=np.float32))
    assert not close(np.array([1.0 + 5e-2, 100.0], dtype=np.float32))
    assert close([np.float32(1.0 + 5e-3), 100.0])  # one single-precision part makes it single


def test_infinities_must_stand_where_they_are_expected() -> None:
    want = np.array([1.0, np.inf, -np.inf])
    assert core.compare_arrays(want, wire.encode([1.0, np.inf, -np.inf])) is None
    assert core.compare_arrays(want, wire.encode([1.0, -np.inf, np.inf])) is not None
    assert core.compare_arrays(want, wire.encode([1.0, 1e300, -1e300])) is not None


def test_values_cross_the_wire_unchanged() -> None:
    import torch

    lists = [[1, [2.0, "x"]], (1, 2), np.array(["a"]), object(), 10**30]
    plain = [3, 2.5, True, "text", None, np.float32(1.5)]
    arrays = [np.arange(6).reshape(2, 3), np.zeros((0, 3)), np.array([True]), np.eye(3).T]
    tensors = [torch.ones(2, requires_grad=True), torch.ones(2, dtype=torch.bfloat16)]
    strange = [np.array([[1.0, 2], [3, 4]])[:, ::-1], np.array([1.0], dtype=">f8")]
    for value in [*lists, *plain, *arrays, *tensors, *strange]:
        sent = wire.encode(value)
        frame = msgspec.msgpack.encode(wire.Returned(sent))
        assert msgspec.msgpack.decode(frame, type=wire.Answer).value == sent
    np.testing.assert_array_equal(wire.decode(wire.encode(strange[0])), [[2, 1], [4, 3]])
    assert wire.decode(wire.encode(strange[1])) == 1.0


@pytest.mark.parametrize(
    "array",
    [
        wire.Array("object", (1,), b"12345678"),
        wire.Array("float64", (2,), b"12345678"),
        wire.Array("float64", (-1,), b""),
        wire.Array("float64", (2**62, 4), b""),
    ],
)
def test_ill_formed_arrays_are_refused(array: wire.Array) -> None:
    with pytest.raises((ValueError, TypeError)):
        wire.decode(array)


# --- the function in a second process ----------------------------------------------------------


def test_the_same_check_judges_a_function_in_a_second_process() -> None:
    source = """from pgcourse.checks import check
print("noise on standard output")
# %%
1 / 0
# %%
%matplotlib inline
def hello_grader(name):
    print("more noise")
    return f"Hello, {name}!"
check(hello_grader)
# %%
def expected_return(P, R, d0, pi, gamma, horizon):
    import os
    os._exit(0)
"""
    remote = Remote(source.split("# %%\n"))
    try:
        assert core.examine(EXERCISES["hello_grader"], remote).right
        crashed = core.examine(EXERCISES["expected_return"], remote)
        assert crashed.difference is not None
        assert "broke off" in crashed.difference.text
        assert core.examine(EXERCISES["hello_grader"], remote).right  # a new process took over
        missing = core.examine(EXERCISES["trajectory_prob"], remote)
        assert missing.mistake == "edit outside the blank"
    finally:
        remote.close()


def test_wrong_answers_have_the_same_names_in_a_second_process() -> None:
    source = """
def expected_return(P, R, d0, pi, gamma, horizon):
    V = 0 * d0
    for _ in range(horizon):
        V = (pi * (R + P @ V)).sum(axis=1)
    return d0 @ V
def state_visitation(P, d0, pi, gamma):
    import time
    time.sleep(30)
"""
    remote = Remote([source], seconds=2)
    try:
        assert core.examine(EXERCISES["expected_return"], remote).mistake == "not discounted"
        late = core.examine(EXERCISES["state_visitation"], remote)
        assert late.difference is not None
        assert "TimeoutError" in late.difference.text
    finally:
        remote.close()


def test_a_notebook_that_does_not_end_is_cut_off() -> None:
    remote = Remote(["while True:\n    pass\n"], run_seconds=2)
    try:
        verdict = core.examine(EXERCISES["hello_grader"], remote)
        assert verdict.difference is not None
        assert "the notebook did not end within 2 s" in verdict.difference.text
    finally:
        remote.close()


def test_a_frame_that_is_too_long_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "frame"
    path.write_bytes((2**40).to_bytes(8, "little"))
    with path.open("rb") as stream, pytest.raises((EOFError, PermissionError)):
        read_frame(stream)


# --- what is shown -----------------------------------------------------------------------------


def test_check_speaks_in_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    pgcourse.checks.check(EXERCISES["hello_grader"].reference)
    assert capsys.readouterr().out == "✓ hello_grader: right on 8 inputs\n"

    def hello_grader(name: str) -> str:
        return "Hello, Ada!"

    pgcourse.checks.check(hello_grader)
    told = capsys.readouterr().out
    for part in (
        "✗ hello_grader: same answer for everyone",
        "got 'Hello, Ada!'",
        "name = ",
        "#sec-",
    ):
        assert part in told


def test_strict_mode_raises_and_plain_mode_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def hello_grader(name: str) -> None: ...

    pgcourse.checks.check(hello_grader)
    monkeypatch.setenv("PGCOURSE_STRICT", "1")
    pgcourse.checks.check(EXERCISES["hello_grader"].reference)
    with pytest.raises(pgcourse.checks.CheckFailedError, match="returns nothing"):
        pgcourse.checks.check(hello_grader)


def test_html_escapes_what_a_student_returns() -> None:
    verdict = judge(EXERCISES["hello_grader"], lambda name: "<script>alert(1)</script>")
    assert "<script>" not in show.as_html(verdict)


def test_unknown_names_are_told() -> None:
    assert core.no_such_exercise("hello").mistake == "edit outside the blank"
    assert "edit outside the blank" in show.as_html(core.no_such_exercise("hello"))
    assert core.find_exercise("hello") is None


@pytest.mark.parametrize("stem", CHAPTERS)
def test_every_diagnosis_points_to_a_place_in_its_page(stem: str) -> None:
    number = CHAPTERS.index(stem)
    page = Path(__file__).parents[1] / f"book/{number:02d}_{stem}.md"
    text = page.read_text(encoding="utf-8")
    for exercise in core.chapter_exercises(stem):
        for mistake in exercise.mistakes:
            label = mistake.see.removeprefix("equation-")
            marker = f":label: {label}\n" if label != mistake.see else f"({label})=\n"
            assert marker in text, f"{exercise.name}: {mistake.see}"
