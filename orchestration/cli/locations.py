"""Arguments that name a dataset: a folder, or a URI."""

import argparse

from pipelines.errors import InputError
from pipelines.storage.location import Location, parse_location


def dataset_location(text: str) -> Location:
    """As argparse's `type`; it would repeat the text of any other error, which may hold a secret."""
    try:
        return parse_location(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
