"""Turn a checkpoint of the published LIA implementation into a model folder: config.json and model.safetensors.

Image size and number of motion directions are read off the checkpoint. Nothing in it is executed.
"""

import argparse
from pathlib import Path

from pipelines.errors import InputError

NAME = "convert"
HELP = "turn a published checkpoint into a model folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="a .pt file of the published implementation"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the model folder to write")


def run(args: argparse.Namespace) -> int:
    from lia_model.published import load_generator
    from lia_model.weights import CONFIG_FILE, save_generator

    if args.out.exists() and not args.out.is_dir():
        raise InputError(f"{args.out}: is a file; --out names a folder")
    if (args.out / CONFIG_FILE).exists():
        raise InputError(f"{args.out}: holds a model already; give a new folder")
    generator = load_generator(args.checkpoint)
    save_generator(args.out, generator)
    config = generator.config
    print(f"{args.out}: {config.image_size} px, {config.motion_dim} motion directions")
    return 0
