"""Score a model on held-out clips.

Reconstruction: the first frame of each clip is driven by every frame of that clip and compared with it: L1 (mean
|x - y| / 2 on [-1,1]), PSNR, SSIM; once `lia fetch` has brought the networks, perceptual and Frechet distances, faces
(VoxCeleb) by their landmarks (AKD) and identity (AED, CSIM), bodies (TaichiHD, TED-talks) by their joints (AKD, MKR);
LPIPS, FID and video FID once you have put their files where `lia fetch --status` says.
Each is averaged over a clip and then over clips, beside the baseline that copies the source, with the interval in
which the mean lies by bootstrap over clips.

Transfer (absolute, relative): each clip's first frame is driven by the first 100 frames of someone else's clip; the
identity of the face is compared with the source's, and all images together with true ones (Frechet distance, FID,
video FID). Who drives whom is kept in the dataset's folder.
"""

import argparse
from pathlib import Path

from orchestration.cli.locations import dataset_location
from orchestration.cli.model_argument import add_model_argument
from orchestration.evaluation.metrics import GROUPS, PROTOCOLS
from pipelines.errors import InputError

NAME = "evaluate"
HELP = "score a model on held-out clips"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_argument(parser)
    parser.add_argument(
        "--data",
        type=dataset_location,
        required=True,
        metavar="DIR",
        help="a dataset that `lia prepare` wrote: a folder, s3:// or http://",
    )
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default="reconstruction",
        help="[reconstruction]; the others are transfer",
    )
    parser.add_argument(
        "--measure",
        choices=GROUPS,
        nargs="+",
        metavar="WHAT",
        help=f"of {', '.join(GROUPS)} [all that has its networks; face or body by the dataset]",
    )
    parser.add_argument("--partition", choices=("test", "train"), default="test", help="which clips [test]")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write clips.parquet and summary.json here; one that was interrupted, or in which clips failed, goes on",
    )
    parser.add_argument(
        "--record",
        action="store_true",
        help="MODEL is the folder of a run: keep the evaluation there and with the run in MLflow, where `lia registry` "
        "looks for it, in place of what was there, and write report and model card (`lia run` does so by itself)",
    )


def run(args: argparse.Namespace) -> int:
    if args.out and args.out.exists() and not args.out.is_dir():
        raise InputError(f"{args.out}: is a file; --out names a folder")
    if args.record and (args.out or args.protocol != "reconstruction" or args.partition != "test"):
        raise InputError(
            "--record keeps a reconstruction of test clips in the run's folder: leave out the other flags"
        )
    from orchestration.evaluation.evaluate import evaluate
    from orchestration.evaluation.score_table import ScoreTable
    from orchestration.evaluation.scores import EVALUATION
    from orchestration.training.run_folder import RunFolder

    folder = RunFolder(Path(args.model))
    if args.record:
        if not folder.exists():
            raise InputError(
                f"{args.model}: --record needs the folder of a run, which `lia train --out` or `lia run` wrote; a "
                "model's folder or address does not say which run it is of"
            )
        args.out = folder.path / EVALUATION
    evaluation = evaluate(
        args.model,
        args.data,
        out=args.out,
        partition=args.partition,
        protocol=args.protocol,
        measure=args.measure,
        drop_others=args.record,
        verbose=args.verbose,
    )
    print(ScoreTable.of(evaluation).text())
    if args.record:
        from orchestration.pipeline import record_again

        record_again(folder, evaluation)
    return 0
