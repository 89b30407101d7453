"""Which ffmpeg runs: the one imageio-ffmpeg ships, unless LIA_FFMPEG names another."""

import os
import shutil
import subprocess
from functools import cache

from pipelines.errors import InputError

VARIABLE = "LIA_FFMPEG"


def ffmpeg_binary() -> str:
    """Path of the ffmpeg to run; raises InputError if LIA_FFMPEG names none."""
    chosen = os.environ.get(VARIABLE)
    if not chosen:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    found = shutil.which(chosen)
    if found is None:
        raise InputError(
            f"{VARIABLE}={chosen}: no such program. Unset it to use the ffmpeg that is installed."
        )
    return found


def ffmpeg_version() -> str:
    """The version that the ffmpeg in use states, such as `n9.0.2`; a dataset's bytes depend on it."""
    return _version(ffmpeg_binary())


@cache
def _version(binary: str) -> str:
    run = subprocess.run([binary, "-version"], capture_output=True, text=True, timeout=60, check=False)
    words = run.stdout.split()
    if run.returncode or words[:2] != ["ffmpeg", "version"]:
        raise InputError(f"{binary}: does not answer -version as ffmpeg does. Correct or unset {VARIABLE}.")
    return words[2]
