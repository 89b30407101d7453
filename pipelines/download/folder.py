"""The folder of videos, made for the first download into it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipelines.errors import InputError


@contextmanager
def folder_made(videos: Path) -> Iterator[None]:
    """Make `videos` if it is not there; unmake it if the block fails. InputError where it cannot be made."""
    try:
        videos.mkdir()
    except FileExistsError:
        yield
        return
    except FileNotFoundError:
        raise InputError(
            f"{videos}: there is no folder {videos.parent} to make it in. Make it first."
        ) from None
    except OSError as error:
        raise InputError(f"{videos}: cannot be made ({error.strerror}). Name another folder.") from None
    try:
        yield
    except BaseException:
        with suppress(OSError):
            videos.rmdir()
        raise
