"""The pictures that a finished run leaves: held-out pairs, a walk along each direction, an animation."""

from dataclasses import dataclass
from pathlib import Path

from lia_model.weights import load_generator
from orchestration.animate import animated_frames
from orchestration.devices import best_device
from orchestration.samples import sample_sheet, walk_sheet
from orchestration.sheets import save_sheet
from orchestration.training.run_folder import RunFolder
from pipelines.dataset.pairs import PairDataset
from pipelines.media.images import write_png
from pipelines.media.video import encode_video, write_video
from pipelines.storage.location import Location

EXAMPLE_FRAMES = 8
ANIMATED_FRAMES = 200


@dataclass(frozen=True)
class Pictures:
    """Files in one folder."""

    folder: Path

    @property
    def contact_sheet(self) -> Path:
        """Source, driving, reconstruction and reference image of held-out pairs."""
        return self.folder / "contact-sheet.png"

    @property
    def directions(self) -> Path:
        """A held-out image moved along each motion direction."""
        return self.folder / "directions.png"

    @property
    def animation(self) -> Path:
        """The first test clip's first frame, moving like the last test clip."""
        return self.folder / "animation.mp4"

    @property
    def files(self) -> dict[str, Path]:
        """By title."""
        return {
            "Held-out pairs": self.contact_sheet,
            "Motion directions": self.directions,
            "Animation": self.animation,
        }

    def are_drawn(self) -> bool:
        """Whether every file is there."""
        return all(path.is_file() for path in (*self.files.values(), *self.example_files))

    @property
    def example_files(self) -> tuple[Path, Path]:
        """A small source image and driving video."""
        return self.folder / "example-source.png", self.folder / "example-driving.mp4"

    @property
    def example(self) -> dict[str, bytes]:
        """Both, as the packaged model takes them."""
        source, driving = self.example_files
        return {"source": source.read_bytes(), "driving": driving.read_bytes()}


def draw_pictures(folder: RunFolder, dataset: Location) -> Pictures:
    """Draw all pictures of a trained run, unless they were drawn from this very model."""
    pictures = Pictures(folder.path / "pictures")
    digest = folder.model_digest()
    if folder.read_json("pictures.json").get("model_digest") == digest and pictures.are_drawn():
        print("pictures: unchanged", flush=True)
        return pictures
    pictures.folder.mkdir(exist_ok=True)
    generator = load_generator(folder.model).eval().requires_grad_(False).to(best_device())
    test = PairDataset(dataset, "test")
    save_sheet(sample_sheet(generator, dataset), pictures.contact_sheet)
    source = test.frames(0, (0,))[0]
    save_sheet(walk_sheet(generator, source), pictures.directions)
    last = len(test) - 1
    fps, n_frames = test.info(last).fps, int(test.n_frames[last])
    driving = encode_video(list(test.frames(last, range(min(n_frames, ANIMATED_FRAMES)))), fps)
    frames = animated_frames(generator, source, driving, mode="relative", fit="crop")
    write_video(pictures.animation, frames, fps)
    example_source, example_driving = pictures.example_files
    write_png(example_source, source)
    write_video(example_driving, list(test.frames(last, range(min(n_frames, EXAMPLE_FRAMES)))), fps)
    folder.write_json("pictures.json", {"model_digest": digest})
    return pictures
