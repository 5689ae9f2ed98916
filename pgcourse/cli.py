"""The command `pgcourse`."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

from pgcourse import __version__

DESCRIPTION = """\
The companion of the course on policy gradients.

  pgcourse check exercises/01_mdp.ipynb     say what is right and wrong in a notebook
  pgcourse train CartPole-v1                learn to balance a pole, in a second or two
  pgcourse grade SUBMISSIONS --out DIR      grade a folder of notebooks, in a sandbox
  pgcourse counts                           count what the course checks (in a checkout)
"""

GRADE = """\
Grade every notebook (.ipynb) and percent script (.py) below SUBMISSIONS: a folder for each student,
or one flat folder of files named after the students. Students' code runs in a sandbox; nothing but
data comes back. A run that was stopped, even by kill -9, goes on where it was.

DIR then holds
  grades.csv        a row a student            feedback/         a page and a text a student
  index.html        the class, for you         statistics.*      questions and mistakes, by name
  results.jsonl     a line a file: why each verdict is what it is (for you, not for students)
"""

SPECIFICATION = """\
The specification says what counts. Everything may be left out:
  title: Sheet 3
  seed: 8161                  # secret: hidden inputs come from it (else a run draws one, DIR/seed)
  public_seed: 0              # inputs that feedback may show
  chapters: [mdp]             # all functions of a chapter, one point each
  questions:
    - softmax_score           # one point, all or nothing
    - {function: rollout, points: 3, partial: true}      # the share of the inputs that are right
    - {function: exact_variance, points: 2, mistakes: {second moment: 1}}     # points by mistake
  due: 2026-11-20T23:59:00+01:00
  late: {lose: 10, grace: 15, until: 3}    # percent a started day, minutes, days
  submitted: times.csv        # columns student, submitted; else the time of the latest file
  limits: {call_seconds: 10, memory: 2147483648}
  book: https://example.org/book           # where links in the feedback lead
Without questions, a notebook is asked for all functions of its chapters, a point each.

exit codes:
  0    everything is graded
  1    some files could not be read or graded; the reasons are in grades.csv
  2    wrong usage or specification, or another grader is writing to DIR
  3    the isolation that was required is not available
  130  interrupted; the same command goes on
"""


def check(args: argparse.Namespace) -> int:
    """Print the verdict on each function of a notebook; 0 if all are right."""
    from pgcourse.checks import show
    from pgcourse.checks.submission import verdicts

    all_right = True
    try:
        for verdict in verdicts(args.notebook, args.seed):
            print(show.as_text(verdict), flush=True)
            all_right &= verdict.right
    except (OSError, ValueError) as error:
        return _fail("check", str(error))
    return 0 if all_right else 1


def train(args: argparse.Namespace) -> int:
    """Train on an environment as chapter 06 does; 0 if it is solved and fresh episodes agree."""
    try:
        _refuse_early(args)
        return _train(args)
    except (OSError, ValueError) as error:
        print(f"pgcourse train: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("pgcourse train: interrupted, nothing was saved", file=sys.stderr)
        return 130


def _refuse_early(args: argparse.Namespace) -> None:
    """Complain before the work, not after it."""
    from pgcourse.experiments import task

    task(args.environment)
    if args.seed < 0:
        raise ValueError(f"--seed must be a whole number >= 0, got {args.seed}")
    if args.plot and args.plot.suffix not in {".svg", ".png", ".pdf"}:
        raise ValueError(f"--plot must end in .svg, .png or .pdf, got {args.plot}")
    for path in filter(None, (args.save, args.plot)):
        new = not path.exists()
        path.open("ab").close()
        if new:
            path.unlink()


def _train(args: argparse.Namespace) -> int:
    import torch

    from pgcourse.experiments import reinforce, save

    torch.set_num_threads(1)
    outcome = reinforce(args.environment, args.seed, sys.stderr)
    print(_said(args, outcome))
    if outcome.policy is None:
        raise KeyboardInterrupt
    if outcome.interrupted and not (args.save or args.plot):
        print("nothing was saved; --save PATH keeps the weights")
    if args.save:
        save(outcome.policy, args.save)
        print(f"weights saved: {args.save}")
    if args.plot:
        _plot(args, outcome)
        print(f"learning curve saved: {args.plot}")
    if outcome.interrupted:
        return 130
    return 0 if outcome.confirmed is not None else 1


def _said(args: argparse.Namespace, outcome: Any) -> str:
    """Tell the outcome in a line."""
    batches = f"{args.environment}, seed {args.seed}: {len(outcome.curve)} batches of 100 episodes"
    last = f", last mean return {outcome.curve[-1]:.1f}" if len(outcome.curve) else ""
    if outcome.confirmed is not None:
        return f"{batches}{last}, confirmed on 100 fresh ones: {outcome.confirmed:.1f}"
    return f"{batches}{last}, " + ("interrupted" if outcome.interrupted else "not solved")


def _plot(args: argparse.Namespace, outcome: Any) -> None:
    import matplotlib.pyplot as plt

    from pgcourse import plotting

    plotting.use_style()
    fig, ax = plt.subplots()
    ax.plot(outcome.curve)
    ax.set(xlabel="batch (100 episodes)", ylabel="mean return (reward)", title=args.environment)
    fig.savefig(args.plot)


def counts(args: argparse.Namespace) -> int:
    """Run `tests/counts.py` of the checkout in the current folder."""
    if not Path("tests/counts.py").is_file():
        return _fail("counts", "run it in a checkout of the course")
    command = [sys.executable, "-m", "tests.counts", *(["--json"] if args.json else [])]
    return subprocess.run(command, check=False).returncode


def grade(args: argparse.Namespace) -> int:
    """Grade a folder of submissions."""
    try:
        from pgcourse.grading.results import BusyError
        from pgcourse.grading.run import Order, OrderError, run
        from pgcourse.grading.sandbox import IsolationError
        from pgcourse.grading.specification import SpecificationError
    except ImportError as error:
        return _fail("grade", f"grading needs more: pip install '.[grade]' ({error})")
    names = ("submissions", "out", "specification", "jobs", "retry_failed", "require", "scheduler")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        tally = run(Order(only=tuple(args.only), **{n: getattr(args, n) for n in names}))
    except (OrderError, SpecificationError, BusyError, ImportError, OSError) as error:
        return _fail("grade", str(error))
    except IsolationError as error:
        return _fail("grade", str(error), 3)
    except BrokenExecutor:
        return _fail("grade", "a process of the grader was ended; the same command goes on", 1)
    except KeyboardInterrupt:
        return _fail("grade", "interrupted; the same command goes on", 130)
    files = ", ".join(f"{n} {status}" for status, n in sorted(tally.files.items()))
    print(f"{tally.students} students; files: {files}")
    print(f"isolation: {'; '.join(tally.layers) or 'nothing ran'}")
    print(f"grades: {args.out / 'grades.csv'}, the class: {args.out / 'index.html'}")
    return 1 if tally.problems else 0


def _fail(command: str, reason: str, code: int = 2) -> int:
    print(f"pgcourse {command}: {reason}", file=sys.stderr)
    return code


def _add_grade(commands: Any) -> None:
    """Add the command `grade`."""
    one = commands.add_parser(
        "grade",
        help="grade a folder of submissions",
        description=GRADE,
        epilog=SPECIFICATION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = one.add_argument
    add("submissions", type=Path, metavar="SUBMISSIONS", help="what students handed in")
    add("--out", type=Path, required=True, metavar="DIR", help="where results go")
    add(
        "--spec", type=Path, dest="specification", metavar="FILE.yml", help="what counts, see below"
    )
    add("-j", "--jobs", type=_jobs, default=_processors(), metavar="N", help="processes (all)")
    add("--only", action="append", default=[], metavar="NAME",
        help="grade again one student, file or question (may be given several times)")  # fmt: skip
    add("--retry-failed", action="store_true", help="try again what broke, hung or was unreadable")
    add("--require-isolation", choices=("full", "basic"), dest="require", help="or do not start")
    add("--scheduler", metavar="ADDRESS", help="of a Dask cluster that does the work")
    one.set_defaults(run=grade)


def _jobs(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number >= 1, got {text}")
    return int(text)


def _processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(
        "pgcourse", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    one = commands.add_parser("check", help="check the functions of a notebook")
    one.add_argument("notebook", type=Path, help="a notebook or a percent script")
    one.add_argument("--seed", type=int, help="of the random inputs (default: your own)")
    one.set_defaults(run=check)
    three = commands.add_parser("train", help="train a policy by REINFORCE")
    three.add_argument("environment", help="such as CartPole-v1 or Acrobot-v1")
    three.add_argument("--seed", type=int, default=0, help="of all that is random (default: 0)")
    three.add_argument("--save", type=Path, metavar="PATH", help="write the weights, as npz")
    three.add_argument("--plot", type=Path, metavar="PATH", help="draw the learning curve")
    three.set_defaults(run=train)
    _add_grade(commands)
    two = commands.add_parser("counts", help="count equations, wrong answers, variants, mutants")
    two.add_argument("--json", action="store_true", help="for machines")
    two.set_defaults(run=counts)
    args = parser.parse_args(argv)
    code: int = args.run(args)
    return code


if __name__ == "__main__":
    sys.exit(main())
