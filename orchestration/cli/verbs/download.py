"""Download the videos that a metadata file names, with yt-dlp: pip install 'lia-platform[download]'.

Videos end up as DIR/<video_id>.<ext>, where prepare looks for them. The same command goes on where an interrupted one
stopped, in the middle of a video too. What became of each is in DIR/download-ledger.jsonl; videos that are dead
(removed, private, not found, ...) are not asked for again at the same address; those that want a login or another
country are, once a run (--cookies, --proxy). Exit status 0: all videos are there or dead. 1: some are left, and the
same command may get them; or all are dead.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from orchestration import configuration
from orchestration.cli.experiment_flags import field_argument, given_fields
from orchestration.cli.verbs.prepare import DESCRIBED
from pipelines.download.config import DownloadConfig
from pipelines.download.source import YOUTUBE, Source, read_cookies
from pipelines.errors import InputError

NAME = "download"
HELP = "the videos that a metadata file names, from YouTube or a mirror"
SOME_LEFT = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", choices=DESCRIBED, required=True, help="whose metadata format")
    parser.add_argument(
        "--metadata", type=Path, required=True, metavar="CSV", help="the published metadata file"
    )
    parser.add_argument(
        "--videos",
        type=Path,
        required=True,
        metavar="DIR",
        help="the folder to download into; made if absent",
    )
    parser.add_argument(
        "--url-template", default=YOUTUBE, metavar="URL", help=f"each video's address [{YOUTUBE}]"
    )
    parser.add_argument("--cookies", type=Path, metavar="FILE", help="a cookies file in Netscape's format")
    parser.add_argument(
        "--proxy", metavar="URL", help="such as socks5://127.0.0.1:1080 [what the environment says]"
    )
    parser.add_argument("--retry-dead", action="store_true", help="ask for dead videos again")
    parser.add_argument("--status", action="store_true", help="only say what is there, dead and left")
    for field in configuration.fields(DownloadConfig()):
        field_argument(parser, field, f"--{field.name.replace('_', '-')}")


def run(args: argparse.Namespace) -> int:
    from orchestration.cluster import connected
    from pipelines.corpus.metadata import read_metadata
    from pipelines.download.download import download, require_ytdlp, status

    config = configuration.override(DownloadConfig(), given_fields(args), origin="command line")
    source = Source(template=args.url_template, proxy=args.proxy)
    metadata = read_metadata(args.metadata, args.dataset, None)
    if args.status:
        print(status(metadata, source, args.videos).report())
        return 0
    if args.cookies:
        require_ytdlp()
        source = replace(source, cookies=read_cookies(args.cookies))
    _make_folder(args.videos)
    summary = download(
        metadata,
        source,
        config,
        args.videos,
        retry_dead=args.retry_dead,
        cluster=lambda: connected(verbose=args.verbose),
    )
    print(summary.report())
    return 0 if summary.complete else SOME_LEFT


def _make_folder(videos: Path) -> None:
    try:
        videos.mkdir(exist_ok=True)
    except FileNotFoundError:
        raise InputError(
            f"{videos}: there is no folder {videos.parent} to make it in. Make it first."
        ) from None
    except OSError as error:
        raise InputError(f"{videos}: cannot be made ({error.strerror}). Name another folder.") from None
