"""The command `pgcourse`."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from pgcourse import __version__

DESCRIPTION = """\
The companion of the course on policy gradients.

  pgcourse check exercises/01_mdp.ipynb   say what is right and wrong in a notebook
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
    two = commands.add_parser("counts", help="count equations, wrong answers, variants, mutants")
    two.add_argument("--json", action="store_true", help="for machines")
    two.set_defaults(run=counts)
    args = parser.parse_args(argv)
    code: int = args.run(args)
    return code


if __name__ == "__main__":
    sys.exit(main())
