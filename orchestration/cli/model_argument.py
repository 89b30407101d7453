"""How a verb is told which model to use."""

import argparse

ACCEPTED = "a run, checkpoint or model folder, a published checkpoint, models:/NAME@ALIAS or runs:/ID/NAME"


def add_model_argument(parser: argparse.ArgumentParser) -> None:
    """Add --model, which `orchestration.models.local_model` takes."""
    parser.add_argument("--model", required=True, help=ACCEPTED)
