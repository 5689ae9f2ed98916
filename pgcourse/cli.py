"""The command `pgcourse`."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from pgcourse import __version__

DESCRIPTION = """\
The companion of the course on policy gradients.

  pgcourse check exercises/01_mdp.ipynb   say what is right and wrong in a notebook
  pgcourse train CartPole-v1              learn to balance a pole, in a second or two
  pgcourse counts                         count what the course checks (in a checkout)
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
        print(f"pgcourse check: {error}", file=sys.stderr)
        return 2
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
        print("pgcourse counts: run it in a checkout of the course", file=sys.stderr)
        return 2
    command = [sys.executable, "-m", "tests.counts", *(["--json"] if args.json else [])]
    return subprocess.run(command, check=False).returncode


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
    two = commands.add_parser("counts", help="count equations, wrong answers, variants, mutants")
    two.add_argument("--json", action="store_true", help="for machines")
    two.set_defaults(run=counts)
    args = parser.parse_args(argv)
    code: int = args.run(args)
    return code


if __name__ == "__main__":
    sys.exit(main())
