"""See it work: one real video becomes shards, a small model, a table, pictures and an animation, in minutes.

Fetches a 19-second video (see `lia fetch`), then does what `lia run demo` does, with metadata that comes with this
package: four fifths of the video to train on, two spans of several seconds held out.
"""

import argparse
from pathlib import Path

from orchestration.cli.repeating import repeating_command

NAME = "demo"
HELP = "the whole pipeline on one short video, in minutes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("demo-output"),
        metavar="DIR",
        help="folder for all that is made [demo-output]",
    )


def run(args: argparse.Namespace) -> int:
    from orchestration.demo import run_demo

    return run_demo(args.out, command=repeating_command(args), verbose=args.verbose)
