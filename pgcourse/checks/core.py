"""Core of the checks: what an exercise is, how an answer is judged, how a mistake gets its name.

Data flow: Exercise, seed -> cases -> requests -> answers -> differences -> Verdict.

What can be computed before a function is seen (inputs, right answers, what each mistake would
answer) is computed once for an exercise and a seed, so that a class of thousands shares it.

A mistake is named by imitation: it ships with a function that makes it, and an answer that differs
from the right one and agrees with that function bears the mistake's name.
"""

from __future__ import annotations

import getpass
import importlib
import inspect
import os
import re
import sys
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, lru_cache
from typing import Any

import msgspec
import numpy as np

from pgcourse import CHAPTERS
from pgcourse.checks.holder import Callee
from pgcourse.checks.wire import (
    Answer,
    Array,
    Blank,
    Items,
    Number,
    Other,
    Raised,
    Request,
    Returned,
    Text,
    Unusable,
    Value,
    decode,
    encode,
)

TOLERANCE = {"float64": (1e-9, 1e-12), "float32": (1e-4, 1e-6)}  # relative, absolute
ENOUGH_TO_NAME = 0.5  # share of the wrong answers that a mistake must explain to give its name
ENOUGH_ALONE = 0.75  # ... by imitation, to give it whatever signs of other mistakes there are
CLOSE = 1e-3  # relative distance of an answer whose first digits are right
ROOM = 20, 100_000  # an answer may weigh so many times the right one, and so much more
PART = 50  # bytes that a number, a list or a text weighs beside its content


@dataclass(frozen=True)
class Difference:
    """How an answer differs; `stage` is blank, type, shape, finite, value or raised.

    `mistake` is its name where `accepts` can tell.
    """

    stage: str
    text: str
    mistake: str | None = None


Compare = Callable[[Any, Value], Difference | None]


@dataclass(frozen=True)
class Mistake:
    """A typical wrong answer with a name of its own.

    Args:
        name: what the mistake is called, in a few words.
        says: the diagnosis: what was computed, what was asked, the likely cause.
        see: anchor of the paragraph in the chapter's page.
        wrong: functions that make this mistake, each in its way.
        signs: further tells the mistake from the arguments, the answer and the right answer (all
            arrays), for mistakes that come in too many sizes to imitate.
    """

    name: str
    says: str
    see: str
    wrong: tuple[Callable[..., Any], ...]
    signs: Callable[[tuple[Any, ...], np.ndarray, np.ndarray], bool] | None = None


@dataclass(frozen=True, eq=False)
class Exercise:
    """One function that students write, and all that is needed to judge it.

    Args:
        name: of the function.
        reference: gives the right answer from the same arguments.
        inputs: draws argument tuples; plain ones first, then edge cases, all from `rng`.
        compare: says how an answer differs from the right one.
        fresh: whether the result must share no memory with the arguments.
        gradient_of: positions of arguments whose gradient is checked too.
        blocked: positions of arguments that require a gradient and must not get one.
        accepts: says what is wrong with an answer to these arguments, where right answers are many
            (a trained policy); without it an answer must be equal to the reference's.
        patience: how many times the usual limit a call may take.
        mistakes: named wrong answers, the most specific first; `mistake` adds one.
    """

    name: str
    reference: Callable[..., Any]
    inputs: Callable[[np.random.Generator], Iterable[tuple[Any, ...]]]
    compare: Compare = lambda expected, got: compare_arrays(expected, got)
    fresh: bool = False
    gradient_of: tuple[int, ...] = ()
    blocked: tuple[int, ...] = ()
    accepts: Callable[[tuple[Any, ...], Value], Difference | None] | None = None
    patience: float = 1.0
    mistakes: list[Mistake] = field(default_factory=list)

    def mistake(
        self,
        name: str,
        see: str,
        also: Sequence[Callable[..., Any]] = (),
        signs: Callable[[tuple[Any, ...], np.ndarray, np.ndarray], bool] | None = None,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register the decorated function as a wrong answer; its docstring is the diagnosis."""

        def add(wrong: Callable[..., Any]) -> Callable[..., Any]:
            says = " ".join((wrong.__doc__ or "").split())
            self.mistakes.append(Mistake(name, says, see, (wrong, *also), signs))
            return wrong

        return add

    def request(self, args: tuple[Any, ...], cotangent: Any = None) -> Request:
        """Build the request for one input."""
        return Request(
            self.name,
            [encode(a) for a in args],
            [*self.gradient_of, *self.blocked],
            None if cotangent is None else encode(cotangent),
            self.fresh,
            self.patience,
        )


@dataclass(frozen=True, eq=False)
class Case:
    """One input of an exercise, its request, and what is known of it before anyone answers."""

    exercise: Exercise
    args: tuple[Any, ...]
    cotangent: Any
    request: Request
    imitated: dict[Callable[..., Any], Any] = field(default_factory=dict)

    @cached_property
    def expected(self) -> Any:
        """The right answer."""
        return self.exercise.reference(*self.args)

    @cached_property
    def gradients(self) -> list[np.ndarray]:
        """The right gradients, by central differences of the reference."""
        return [_central_differences(self, i) for i in self.exercise.gradient_of]

    @cached_property
    def heaviest(self) -> int:
        """The weight beyond which an answer is not looked at."""
        return ROOM[0] * weight(encode(self.expected), sys.maxsize) + ROOM[1]

    def imitation(self, wrong: Callable[..., Any]) -> Any:
        """What a function that makes a mistake answers; the exception if it raises one."""
        if wrong not in self.imitated:
            try:
                with warnings.catch_warnings(), np.errstate(all="ignore"):
                    warnings.simplefilter("ignore")
                    self.imitated[wrong] = wrong(*(decode(a) for a in self.request.args))
            except Exception as error:
                self.imitated[wrong] = error.with_traceback(None)
        return self.imitated[wrong]


@lru_cache(maxsize=256)
def cases_of(exercise: Exercise, seed: int) -> tuple[Case, ...]:
    """Draw the cases of an exercise from a seed, once."""
    cases = []
    for args in exercise.inputs(np.random.default_rng(seed)):
        cotangent = cotangent_for(exercise, args, seed)
        cases.append(Case(exercise, args, cotangent, exercise.request(args, cotangent)))
    return tuple(cases)


@dataclass(frozen=True)
class Verdict:
    """What a check found; `status` is "right", "wrong" or "not attempted".

    `share` of the inputs were answered rightly in every respect; known inputs add nothing to it.
    """

    exercise: str
    status: str
    says: str
    mistake: str | None = None
    see: str = ""
    difference: Difference | None = None
    inputs: tuple[tuple[str, Any], ...] = ()
    share: float = 0.0

    @property
    def right(self) -> bool:
        """Whether the function was proved right on every input."""
        return self.status == "right"


GENERIC = {
    "edit outside the blank": "Only the body of the function is yours: its name and its "
    "arguments must stay as they were.",
    "returns nothing": "The function ended without a `return`; printing a value or storing it "
    "in a variable does not hand it back.",
    "changes its input": "An argument was different after the call. Work on a copy: "
    "`x = x - 1` makes a new array, `x -= 1` changes the caller's; so do `pop`, `append` and "
    "`sort` with a list.",
    "overwrites an earlier result": "A later call changed the array that an earlier call "
    "returned. Make a new array in each call.",
    "remembers earlier calls": "The same arguments gave another result the second time. The "
    "result may depend on the arguments only.",
    "another result at each call": "The same arguments gave another result the second time: "
    "random numbers of your own are drawn, or something is kept between the calls. What is asked "
    "depends on the arguments only.",
    "close, but not exact": "The first digits are right, the rest is not: single precision on the "
    "way, perhaps, a finite difference, a series cut short, something small added, or rounding. "
    "Compute with the formula itself, in double precision.",
    "shares memory with its input": "The result is the caller's array, or a view of it: whoever "
    "changes one changes both. Return a new array.",
    "too slow": "One call was stopped because it did not end in time. Something loops for ever, or "
    "visits every possibility where keeping the results of each step would do.",
    "no stop-gradient": "The value is right, but a gradient flows into an argument that must count "
    "as a constant. Take it without its graph: `.detach()`.",
    "no gradient": "The value is right, but no gradient flows back: somewhere the result was "
    "detached, or rebuilt from plain numbers.",
}


@cache
def exercises() -> dict[str, Exercise]:
    """Return every exercise of the course by the name of its function, in the book's order."""
    return {e.name: e for stem in CHAPTERS for e in chapter_exercises(stem)}


@cache
def chapter_exercises(stem: str) -> tuple[Exercise, ...]:
    """Return the exercises of one chapter."""
    found: tuple[Exercise, ...] = importlib.import_module(f"pgcourse.checks.{stem}").EXERCISES
    return found


def find_exercise(name: str) -> Exercise | None:
    """Return the exercise that a function of this name answers; later chapters stay unloaded."""
    found = (e for stem in CHAPTERS for e in chapter_exercises(stem) if e.name == name)
    return next(found, None)


def chapter_of(name: str) -> int:
    """Return the number of the chapter that asks for this function."""
    return next(
        i for i, stem in enumerate(CHAPTERS) if name in {e.name for e in chapter_exercises(stem)}
    )


def own_seed() -> int:
    """Return the seed of this student's inputs: `PGCOURSE_SEED`, or one made of the user name.

    Raises:
        ValueError: the variable is no whole number >= 0.
    """
    if text := os.environ.get("PGCOURSE_SEED"):
        if not text.isdecimal():
            raise ValueError(f"PGCOURSE_SEED must be a whole number >= 0, got {text!r}")
        return int(text)
    try:
        return zlib.crc32(getpass.getuser().encode())
    except (KeyError, OSError, ImportError):
        return 0


def no_such_exercise(name: str) -> Verdict:
    """Say that no exercise asks for a function of this name."""
    says = f"No exercise asks for a function called `{name}`. " + GENERIC["edit outside the blank"]
    return Verdict(name, "wrong", says, "edit outside the blank")


# --- judging -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judged:
    """An answer beside its case: how it differs, and what went wrong beside the values."""

    case: Case
    answer: Answer
    difference: Difference | None
    fault: str | None

    @property
    def right(self) -> bool:
        """Whether nothing is wrong with this answer."""
        return self.difference is None and self.fault is None


Tells = Callable[[Mistake, Judged], bool]


def examine(exercise: Exercise, callee: Callee, seed: int = 0) -> Verdict:
    """Judge a function by what it answers to inputs drawn from `seed`.

    Args:
        exercise: the definition of "correct".
        callee: holds the function, in this process or in another.
        seed: of the random inputs.
    """
    cases = cases_of(exercise, seed)
    answers = list(_ask(callee, cases))
    if generic := _without_value(exercise, answers[0]):
        return generic
    judged = [_judge(case, answer) for case, answer in zip(cases, answers, strict=False)]
    wrong = [j for j in judged if j.difference]
    told = judged if wrong else [*judged, _judge_again(cases[0], answers[-1])]
    if all(j.right for j in told):
        return Verdict(exercise.name, "right", f"right on {len(cases)} inputs", share=1.0)
    moved = len(answers) > len(cases) and _moves(cases[0], answers[0], answers[-1])
    verdict = _explain(exercise, wrong, moved) if wrong else _explain_fault(exercise, told)
    right = [j.right for j in judged]
    right[0] &= bool(wrong) or told[-1].right
    return replace(verdict, share=_share(exercise, seed, right))


def _share(exercise: Exercise, seed: int, right: list[bool]) -> float:
    """Return the share of right answers; no larger than among the inputs that the seed draws.

    The others are the same for everybody and known: who only remembers those has nothing.
    """
    varies = drawn_by_seed(exercise, seed)
    drawn = [r for r, v in zip(right, varies, strict=False) if v]
    return min(sum(right) / len(varies), sum(drawn) / sum(varies))


@lru_cache(maxsize=256)
def drawn_by_seed(exercise: Exercise, seed: int) -> tuple[bool, ...]:
    """Say of each case that no other seed has such an input; where each has it, of all."""
    others = (cases_of(exercise, other) for other in range(4) if other != seed)
    known = [case.request.args for cases in others for case in cases]
    varies = tuple(case.request.args not in known for case in cases_of(exercise, seed))
    return varies if any(varies) else (True,) * len(varies)


def _ask(callee: Callee, cases: Sequence[Case]) -> Iterator[Answer]:
    """Yield an answer a case, and one more to the first.

    Stop when the function is gone, and where the first answer says that there is none.
    """
    requests = [case.request for case in [*cases, cases[0]]]
    for number, answer in enumerate(callee.answers(requests)):
        yield answer
        if isinstance(answer, Raised) and answer.type in {"TimeoutError", "EOFError"}:
            return
        if number == 0 and _without_value(cases[0].exercise, answer):
            return


def _without_value(exercise: Exercise, answer: Answer) -> Verdict | None:
    if isinstance(answer, Unusable):
        name, seen = "edit outside the blank", Difference("blank", answer.reason)
        return Verdict(exercise.name, "wrong", GENERIC[name], name, difference=seen)
    if isinstance(answer, Returned) and isinstance(answer.value, Blank):
        if answer.value.what == "...":
            return Verdict(exercise.name, "not attempted", "not attempted")
        says = GENERIC["returns nothing"]
        return Verdict(exercise.name, "wrong", says, "returns nothing")
    return None


def _judge(case: Case, answer: Answer) -> Judged:
    answer = _compact(case, answer)
    difference = _difference(case, answer)
    return Judged(case, answer, difference, _misconduct(answer) or gradient_fault(case, answer))


def _judge_again(case: Case, answer: Answer) -> Judged:
    """Judge the second answer to the first case."""
    answer = _compact(case, answer)
    moved = "remembers earlier calls" if _difference(case, answer) else None
    return Judged(case, answer, None, moved or _misconduct(answer))


def _difference(case: Case, answer: Answer) -> Difference | None:
    """Compare an answer with the right one; what cannot be compared is not right."""
    if isinstance(answer, Raised):
        where = f", at: {answer.line}" if answer.line else ""
        return Difference("raised", f"raised {answer.type}: {answer.message}{where}")
    if isinstance(answer, Unusable):
        return Difference("blank", answer.reason)
    try:
        if case.exercise.accepts is not None:
            return case.exercise.accepts(case.args, answer.value)
        return case.exercise.compare(case.expected, answer.value)
    except Exception as error:  # whatever a forged answer provokes
        return Difference("type", f"got something that cannot be compared: {error}")


def weight(value: Value, enough: int) -> int:
    """Return about how many bytes a value has; counting stops when it is more than `enough`."""
    total, parts = 0, [value]
    while parts and total <= enough:
        part = parts.pop()
        total += PART + (len(part.data) if isinstance(part, Array) else 0)
        total += len(part.text) if isinstance(part, Text) else 0
        parts += part.items if isinstance(part, (Items, Other)) else []
    return total


def _compact(case: Case, answer: Answer) -> Answer:
    """Make an answer cheap to compare many times: what is too heavy goes, nests become arrays."""
    if not isinstance(answer, Returned):
        return answer
    if weight(answer.value, case.heaviest) > case.heaviest:
        return msgspec.structs.replace(answer, value=Other("far larger thing than was asked for"))
    if not isinstance(answer.value, Items) or case.exercise.compare is not Exercise.compare:
        return answer
    try:
        array, precision = to_array(answer.value)
    except Exception:  # no numbers, or whatever a forged answer provokes
        return answer
    exact = precision == "float64"
    return msgspec.structs.replace(
        answer, value=encode(array if exact else array.astype(np.float32))
    )


def _explain(exercise: Exercise, failures: Sequence[Judged], moved: bool = False) -> Verdict:
    """Name the mistake that imitates most of the wrong answers, or show the first of them.

    Signs are asked only where no imitation suffices: they fit many answers.
    """
    for tells, enough in ((_imitates, ENOUGH_ALONE), (_betrays, ENOUGH_TO_NAME)):
        if mistake := _likeliest(exercise, failures, tells, enough):
            seen = next(f for f in failures if tells(mistake, f))
            break
    else:
        seen, name = failures[0], _general(failures, moved)
        mistake = Mistake(name or "", GENERIC[name] if name else "", "", ())
    told = mistake.says, mistake.name or None, mistake.see
    return Verdict(exercise.name, "wrong", *told, seen.difference, named(exercise, seen.case.args))


def _likeliest(
    exercise: Exercise, failures: Sequence[Judged], tells: Tells, enough: float
) -> Mistake | None:
    """Return the mistake that tells most about the failures; None where none tells enough."""
    best, mistake = 0.0, None
    for candidate in exercise.mistakes:
        if (share := _share_explained(candidate, failures, tells, max(best, enough))) > best:
            best, mistake = share, candidate
        if best == 1:
            break
    return mistake if best >= enough else None


def _general(failures: Sequence[Judged], moved: bool) -> str | None:
    """Name what any function can do wrong."""
    if moved:
        return "another result at each call"
    fixed = failures[0].case.exercise.accepts is None
    if fixed and all(_signs(is_close, f) for f in failures):
        return "close, but not exact"
    return _misconduct(failures[0].answer)


def is_close(args: tuple[Any, ...], got: np.ndarray, expected: np.ndarray) -> bool:
    """Tell whether the first digits are right, measured by the largest expected magnitude."""
    finite = np.isfinite(expected)
    slack = CLOSE * np.abs(expected[finite]).max(initial=0.0)
    same = np.abs(got[finite] - expected[finite]).max(initial=0.0) < slack
    return bool(same and np.array_equal(got[~finite], expected[~finite], equal_nan=True))


def _moves(case: Case, first: Answer, again: Answer) -> bool:
    """Say whether two answers to the same case differ."""
    first, again = _compact(case, first), _compact(case, again)
    if not isinstance(first, Returned) or not isinstance(again, Returned):
        return False
    return repr(first.value) != repr(again.value)  # nan is not nan, its text is


def _words(message: str) -> list[str]:
    """What an exception says, but for its numbers: those depend on how the code is written."""
    return re.findall(r"[a-z]+", message[:200].lower())


def _explain_fault(exercise: Exercise, judged: Sequence[Judged]) -> Verdict:
    """Say what right values do not show: inputs changed, results reused, gradients."""
    case, name = next((j.case, j.fault) for j in judged if j.fault)
    own = {m.name: (m.says, m.see) for m in exercise.mistakes}
    says, see = own.get(name, (GENERIC[name], ""))
    return Verdict(exercise.name, "wrong", says, name, see, inputs=named(exercise, case.args))


def _misconduct(answer: Answer) -> str | None:
    """Name what went wrong beside the values."""
    if isinstance(answer, Raised) and answer.type == "TimeoutError":
        return "too slow"
    if not isinstance(answer, Returned):
        return None
    signs = {
        "returns nothing": answer.value == Blank("None"),
        "changes its input": answer.changed,
        "overwrites an earlier result": answer.stale,
        "shares memory with its input": answer.shares,
    }
    return next((name for name, seen in signs.items() if seen), None)


def _share_explained(
    mistake: Mistake, failures: Sequence[Judged], tells: Tells, enough: float
) -> float:
    """Return the share of the failures that a mistake explains, 0 once `enough` is out of reach.

    What explains exceptions alone must explain all failures, to the word: most mistakes end in some
    exception.
    """
    told: list[Judged] = []
    for left, failure in zip(range(len(failures), 0, -1), failures, strict=True):
        if len(told) + left < enough * len(failures):
            return 0.0
        told += [failure] if tells(mistake, failure) else []
    if all(isinstance(f.answer, Raised) for f in told):
        return float(len(told) == len(failures) and all(_says_so(mistake, f) for f in told))
    return len(told) / len(failures)


def _says_so(mistake: Mistake, failure: Judged) -> bool:
    """Say whether a mistake's own function raises with the words of the answer."""
    imitated = [failure.case.imitation(wrong) for wrong in mistake.wrong]
    said = _words(failure.answer.message) if isinstance(failure.answer, Raised) else []
    return any(_words(str(x)) == said for x in imitated if isinstance(x, Exception))


def _imitates(mistake: Mistake, failure: Judged) -> bool:
    """Say whether one of the mistake's own functions gives this answer too."""
    case, answer, difference = failure.case, failure.answer, failure.difference
    if difference is not None and difference.mistake is not None:
        return difference.mistake == mistake.name
    return any(_agree(case, case.imitation(wrong), answer) for wrong in mistake.wrong)


def _betrays(mistake: Mistake, failure: Judged) -> bool:
    """Say whether an answer is imitated by a mistake or bears its signs."""
    signed = mistake.signs is not None and _signs(mistake.signs, failure)
    return signed or _imitates(mistake, failure)


def _signs(signs: Callable[..., bool], failure: Judged) -> bool:
    case, answer = failure.case, failure.answer
    if not isinstance(answer, Returned):
        return False
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            expected = np.asarray(case.expected, dtype=np.float64)
            got, _ = to_array(answer.value)
            return got.shape == expected.shape and bool(signs(case.args, got, expected))
        except Exception:  # no numbers, or whatever a forged answer provokes
            return False


def _agree(case: Case, imitated: Any, answer: Answer) -> bool:
    if isinstance(imitated, Exception):
        return isinstance(answer, Raised) and answer.type == type(imitated).__name__
    if not isinstance(answer, Returned):
        return False
    if imitated is None:
        return answer.value == Blank("None")
    try:
        return case.exercise.compare(imitated, answer.value) is None
    except Exception:  # whatever a forged answer provokes
        return False


def named(exercise: Exercise, args: tuple[Any, ...]) -> tuple[tuple[str, Any], ...]:
    """Pair each argument with its name."""
    return tuple(zip(inspect.signature(exercise.reference).parameters, args, strict=False))


# --- gradients ---------------------------------------------------------------------------------


def cotangent_for(exercise: Exercise, args: tuple[Any, ...], seed: int) -> Any:
    """Draw the cotangent that is pulled back, of the shape of the result; None without graph."""
    if not exercise.gradient_of:
        return None
    return np.random.default_rng(seed).normal(size=np.shape(exercise.reference(*args)))


def gradient_fault(case: Case, answer: Answer) -> str | None:
    """Compare the gradients of an answer with the right ones, and see that none leaks."""
    if not case.exercise.gradient_of or not isinstance(answer, Returned):
        return None
    split, blocked = len(case.exercise.gradient_of), len(case.exercise.blocked)
    if len(answer.gradients) != split + blocked:
        return "no gradient"
    try:
        pairs = list(zip(case.gradients, answer.gradients[:split], strict=True))
        if not all(_close(want, got) for want, got in pairs):
            return "no gradient"
        leaks = [g for g in answer.gradients[split:] if not isinstance(g, Blank)]
        return "no stop-gradient" if any(np.any(decode(g)) for g in leaks) else None
    except Exception:  # whatever a forged answer provokes
        return "no gradient"


def _close(expected: np.ndarray, gradient: Value) -> bool:
    slack = 1e-5 * float(np.max(np.abs(expected), initial=0.0)) + 1e-7
    got = None if isinstance(gradient, Blank) else decode(gradient)
    return got is not None and np.allclose(got, expected, rtol=0, atol=slack)


def _central_differences(case: Case, position: int, h: float = 1e-5) -> np.ndarray:
    def pulled(x: np.ndarray) -> float:
        value = case.exercise.reference(*case.args[:position], x, *case.args[position + 1 :])
        return float(np.sum(case.cotangent * np.asarray(value)))

    x = case.args[position]
    steps = h * np.eye(x.size).reshape(x.size, *x.shape)
    return np.reshape([(pulled(x + e) - pulled(x - e)) / (2 * h) for e in steps], x.shape)


# --- comparing ---------------------------------------------------------------------------------


class NotNumbersError(Exception):
    """A value does not hold numbers; the message says what it holds."""


def to_array(value: Value) -> tuple[np.ndarray, str]:
    """Return a value as float64 array and the coarsest float type found in it."""
    if isinstance(value, Number) and not isinstance(value.value, bool):
        return np.asarray(value.value, dtype=np.float64), "float64"
    if isinstance(value, Array) and value.dtype != "bool":
        coarse = value.dtype if value.dtype.endswith(("float16", "float32")) else "float64"
        return decode(value).astype(np.float64), coarse
    if isinstance(value, Items):
        parts = [to_array(x) for x in value.items]
        if len({p.shape for p, _ in parts}) > 1:
            raise NotNumbersError("a list whose parts have different shapes")
        coarsest = max((c for _, c in parts), key=_coarseness, default="float64")
        return np.array([p for p, _ in parts], dtype=np.float64), coarsest
    raise NotNumbersError(describe(value))


def _coarseness(dtype: str) -> int:
    return ["float64", "float32", "float16", "bfloat16"].index(dtype)


def describe(value: Value) -> str:
    """Name the type of a value in words."""
    if isinstance(value, Other):
        lazy = value.type in {"generator", "zip", "map", "filter"}
        hint = "; wrap it in list(...)" if lazy else ""
        return f"a {value.type}{hint}"
    if isinstance(value, Blank):
        return f"nothing ({value.what})"
    if isinstance(value, (Text, Items)):
        return "text" if isinstance(value, Text) else "a list"
    if isinstance(value, Number):
        return "a truth value" if isinstance(value.value, bool) else "one number"
    return "truth values" if value.dtype == "bool" else "an array of numbers"


def compare_arrays(expected: Any, got: Value) -> Difference | None:
    """Compare numbers: type, shape, finite, value; tolerance follows the result's float type.

    float64 and whole numbers: 1e-9 of the largest expected magnitude, plus 1e-12; float32 (and
    anything coarser, which seldom passes): 1e-4, plus 1e-6.
    """
    want = np.asarray(expected, dtype=np.float64)
    try:
        array, precision = to_array(got)
    except NotNumbersError as error:
        return Difference("type", f"got {error}, expected numbers of shape {want.shape}")
    if array.shape != want.shape:
        return Difference("shape", f"got shape {array.shape}, expected {want.shape}")
    finite = np.isfinite(want)
    if (broken := finite & ~np.isfinite(array)).any():
        return _at(broken, "finite", array, want)
    relative, absolute = TOLERANCE.get(precision, TOLERANCE["float32"])
    slack = relative * float(np.max(np.abs(want[finite]), initial=0.0)) + absolute
    with np.errstate(invalid="ignore", over="ignore"):
        close = np.where(finite, np.abs(array - want) <= slack, array == want)
    close |= np.isnan(want) & np.isnan(array)
    return None if close.all() else _at(~close, "value", array, want)


def _at(wrong: np.ndarray, stage: str, got: np.ndarray, expected: np.ndarray) -> Difference:
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    where = f"at index {list(index)} " if index else ""
    return Difference(stage, f"{where}got {got[index]:.10g}, expected {expected[index]:.10g}")


def compare_text(expected: Any, got: Value) -> Difference | None:
    """Compare strings, character by character."""
    if not isinstance(got, Text):
        return Difference("type", f"got {describe(got)}, expected text")
    if got.text == expected:
        return None
    return Difference("value", f"got {got.text!r}, expected {expected!r}")
