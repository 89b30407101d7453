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
from contextlib import nullcontext, suppress

from orchestration.cli.locations import dataset_location

NAME = "status"
HELP = "what is going on: jobs, machines, preparation, training, on one screen"
WATCH_SECONDS = 10.0
NOTHING_FOUND = 1
CLEAR = "\x1b[H\x1b[2J"
"""Begins a screen in place of the last."""


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
    from orchestration.status.dashboard import dashboard_address
    from orchestration.status.gather import gather
    from orchestration.status.screen import screen

    address = dashboard_address(args.address, os.environ)
    status, stuck = 0, False
    with suppress(KeyboardInterrupt) if args.watch else nullcontext():
        while True:
            began = time.monotonic()
            found = gather(address, args.out)
            status = NOTHING_FOUND if found.empty else 0
            stuck |= found.stuck
            clear = CLEAR if args.watch and sys.stdout.isatty() else ""
            print(clear + screen(found, shutil.get_terminal_size().columns), flush=True)
            if args.watch is None:
                break
            time.sleep(max(0.0, args.watch - (time.monotonic() - began)))
    if stuck:
        # Threads that wait for a server that is silent would keep the process from ending.
        sys.stderr.flush()
        os._exit(status)
    return status


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if (value := float(text)) >= 1:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, 1 or more")
