"""`lia run` so small that a test can run it: raw videos, their metadata, a recipe of six steps."""

from pathlib import Path

import numpy as np

from pipelines.media.video import write_video

RECIPE = (
    *("demo", "--model.image_size", "32", "--prepare.size", "32", "--model.style_dim", "16"),
    *("--model.motion_dim", "3", "--model.width", "0.03", "--loss.adversarial", "1"),
    *("--schedule.batch_size", "4", "--schedule.log_every", "2", "--schedule.sample_every", "6"),
    *("--schedule.checkpoint_every", "3"),
)


def raw_video(path: Path, n_frames: int, seed: int) -> None:
    """A bright disc that swings before a dim pattern, 96 x 64 pixels."""
    rng = np.random.default_rng(seed)
    background = rng.integers(20, 80, (8, 12, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    y, x = np.mgrid[:64, :96]
    frames = []
    for number in range(n_frames):
        frame = background.copy()
        centre = 48 + 12 * np.sin(number / 4 + seed)
        frame[(y - 32) ** 2 + (x - centre) ** 2 < 150] = (230, 200, 60 * (seed + 1))
        frames.append(frame)
    write_video(path, frames, 25)


def write_raw_corpus(root: Path, clips: int = 2) -> Path:
    """Two raw videos of so many clips each, one to test on, and a third that is not there; returns the folder."""
    (root / "videos").mkdir(parents=True)
    lines = ["video_id,start,end,bbox,fps,width,height,partition"]
    for seed, (name, partition) in enumerate([("one", "train"), ("two", "test")]):
        raw_video(root / "videos" / f"{name}.mp4", 20 * clips, seed)
        starts = range(0, 20 * clips, 20)
        lines += [f"{name},{start},{start + 18},16-0-80-64,25,96,64,{partition}" for start in starts]
    lines.append("gone,0,20,16-0-80-64,25,96,64,train")
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")
    return root


def arguments(corpus: Path) -> tuple[str, ...]:
    """Of `lia run`, but for --out and the number of steps."""
    source = ("--metadata", corpus / "metadata.csv", "--videos", corpus / "videos")
    return (*RECIPE, "--dataset", "taichi", *map(str, source))
