"""What is going on, on one screen: jobs and machines of a Ray cluster, preparations, trainings, sweeps.

Asks the cluster's dashboard (http://127.0.0.1:8265 unless --address, RAY_API_SERVER_ADDRESS or RAY_ADDRESS names
another), MLflow (MLFLOW_TRACKING_URI, or mlflow.db in this folder), and what lies in --out. Any of them is enough; what
does not answer within seconds is listed as not reached.
"""

import argparse
import os
import shutil
import sys
import time
from contextlib import suppress

from orchestration.cli.locations import dataset_location

NAME = "status"
HELP = "what is going on: jobs, machines, preparation, training, on one screen"
WATCH_SECONDS = 10.0
NOTHING_FOUND = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        type=dataset_location,
        action="append",
        metavar="DIR",
        help="the --out of a run, training, preparation or sweep, or a folder of those; a dataset may be at "
        "s3://BUCKET/PATH; may be given several times [this folder]",
    )
    parser.add_argument(
        "--address", metavar="URL", help="of the Ray dashboard, such as http://127.0.0.1:8265"
    )
    parser.add_argument(
        "--watch",
        nargs="?",
        type=_seconds,
        const=WATCH_SECONDS,
        metavar="SECONDS",
        help=f"show it again every so often until Ctrl-C [{WATCH_SECONDS:g}]",
    )


def run(args: argparse.Namespace) -> int:
    while True:
        began = time.monotonic()
        status = _show(args, clear=args.watch is not None and sys.stdout.isatty())
        if args.watch is None:
            return status
        with suppress(KeyboardInterrupt):
            time.sleep(max(0.0, args.watch - (time.monotonic() - began)))
            continue
        return status


def _show(args: argparse.Namespace, *, clear: bool) -> int:
    """Look once; returns the exit status."""
    from orchestration.status.dashboard import dashboard_address
    from orchestration.status.gather import gather
    from orchestration.status.screen import screen

    found = gather(dashboard_address(args.address, os.environ), args.out)
    text = screen(found, shutil.get_terminal_size().columns)
    print(f"\x1b[H\x1b[2J{text}" if clear else text, flush=True)
    status = NOTHING_FOUND if found.empty else 0
    if found.stuck and args.watch is None:
        # Threads that wait for a server that is silent would keep the process from ending.
        sys.stderr.flush()
        os._exit(status)
    return status


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if (value := float(text)) >= 1:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, 1 or more")
