"""Entry point of `lia VERB ...`: parsing, error messages and exit statuses.

Exit status 0: done. 1: the work failed. 2: the input is unusable, and the message says what to change. 130 and 143:
ended by Ctrl-C or SIGTERM.
"""

import argparse
import difflib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from orchestration.cli.verbs import VERBS
from orchestration.cluster import quiet_ray
from orchestration.errors import Terminated, WorkFailedError, last_line, root_cause
from pipelines.errors import InputError, TooManyFailuresError

FAILED, BAD_INPUT, INTERRUPTED, TERMINATED = 1, 2, 130, 143


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status."""
    quiet_ray()
    args, unknown = build_parser().parse_known_args(argv)
    if unknown:
        args.parser.error(_unknown(unknown[0], args.parser))
    try:
        return int(args.run(args))
    except KeyboardInterrupt as interruption:
        print(f"lia {args.verb}: interrupted; what was finished is kept", file=sys.stderr)
        return TERMINATED if isinstance(interruption, Terminated) else INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone (`lia ... | head`); Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:  # noqa: BLE001 - the last place where an error can be turned into a line
        if args.verbose:
            traceback.print_exc()
        status, message = explain(error)
        print(f"lia {args.verb}: {message}", file=sys.stderr)
        return status


def explain(error: BaseException) -> tuple[int, str]:
    """Exit status and message for an error that reached the command line."""
    error = root_cause(error) if _is_a(error, "ray.exceptions", "RayError") else error
    if (
        isinstance(error, InputError)
        or _is_a(error, "lia_model.weights", "WeightsError")
        or _is_a(error, "tracking.errors", "TrackingError")
    ):
        return BAD_INPUT, str(error)
    if isinstance(error, WorkFailedError | TooManyFailuresError | OSError):
        return FAILED, str(error)
    return FAILED, f"unexpected {type(error).__name__}: {last_line(error)} (-v shows the traceback)"


def _is_a(error: BaseException, module: str, name: str) -> bool:
    """isinstance without importing: a module that was never loaded raised nothing."""
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(error, kind)


class Parser(argparse.ArgumentParser):
    """argparse, but a mistake is answered in one line: the usage of a verb with forty flags hides the reason."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: {message} (see {self.prog} --help)\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser with all verbs."""
    parser = Parser(
        prog="lia",
        description="Train the Latent Image Animator: raw video in, a registered model that animates out.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, title="verbs")
    for verb in VERBS:
        sub = verbs.add_parser(
            verb.NAME,
            help=verb.HELP,
            description=(verb.__doc__ or "").strip(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        sub.add_argument("-v", "--verbose", action="store_true", help="show tracebacks and Ray's log")
        verb.add_arguments(sub)
        sub.set_defaults(run=verb.run, parser=sub)
    return parser


def _unknown(word: str, parser: argparse.ArgumentParser) -> str:
    """What to say of a word that no flag or place takes."""
    if not word.startswith("-"):
        return f"{word}: one word too many"
    flags = [flag for action in parser._actions for flag in action.option_strings]
    close = difflib.get_close_matches(word.partition("=")[0], flags, n=1)
    return f"there is no flag {word}" + (f"; did you mean {close[0]}?" if close else "")


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("lia-platform")
    except PackageNotFoundError:
        return "(not installed)"
