import numpy as np
import pytest
import torch
from PIL import Image

from lia_model.config import LiaConfig
from lia_model.generator import Generator
from lia_model.weights import save_generator
from orchestration.cli.main import main
from orchestration.manipulate import FRAMES, there_and_back
from pipelines.media.video import decode_frames

CONFIG = LiaConfig(image_size=32, style_dim=16, motion_dim=3, width=0.03)


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    save_generator(tmp_path / "model", Generator(CONFIG))
    return str(tmp_path / "model")


@pytest.fixture
def face(tmp_path):
    path = tmp_path / "face.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(path)
    return str(path)


def test_a_sheet_of_all_directions_and_a_video_of_each(model, face, tmp_path, capsys):
    out = tmp_path / "walk"
    assert main(["manipulate", "--model", model, "--source", face, "--out", str(out), "--reach", "40"]) == 0
    assert "3 videos" in capsys.readouterr().out
    videos = [out / f"direction-{number}.mp4" for number in (1, 2, 3)]
    assert sorted(path.name for path in out.iterdir()) == [path.name for path in videos] + ["directions.png"]
    walks = [np.stack(list(decode_frames(video))).astype(int) for video in videos]
    for walk in walks:
        assert walk.shape == (FRAMES, 32, 32, 3)
        # It begins in the middle, so halfway through it is there again; to either side it shows other pictures.
        assert (
            np.abs(walk[0] - walk[FRAMES // 2]).mean()
            < np.abs(walk[FRAMES // 4] - walk[3 * FRAMES // 4]).mean()
        )
    assert np.abs(walks[0][0] - walks[1][0]).mean() < np.abs(walks[0][15] - walks[1][15]).mean()


def test_a_loop_goes_to_both_sides_and_joins():
    loop = there_and_back(2.0, 60)
    assert (loop[0], max(loop), min(loop)) == (0, 2, -2)
    steps = np.diff([*loop, loop[0]])
    assert np.abs(steps).max() < 0.22
    assert np.abs(np.diff([*steps, steps[0]])).max() < 0.03  # nor does it jerk where it begins anew


@pytest.mark.parametrize("reach", ["0", "-1", "nan", "inf"])
def test_a_reach_is_a_number_above_zero(reach, model, face, tmp_path, capsys):
    words = ["manipulate", "--model", model, "--source", face, "--out", str(tmp_path / "o")]
    assert main([*words, f"--reach={reach}"]) == 2
    assert f"--reach {reach}" in capsys.readouterr().err


def test_a_folder_with_something_in_it_is_left_alone(model, face, tmp_path, capsys):
    assert main(["manipulate", "--model", model, "--source", face, "--out", str(tmp_path)]) == 2
    assert f"{tmp_path}: is there already" in capsys.readouterr().err
    assert main(["manipulate", "--model", model, "--source", face, "--out", str(tmp_path / "a" / "b")]) == 2
    assert "in one that exists" in capsys.readouterr().err


def test_an_image_that_is_none_leaves_nothing(model, tmp_path, capsys):
    (tmp_path / "face.png").write_bytes(b"no image")
    words = [
        "manipulate",
        "--model",
        model,
        "--source",
        str(tmp_path / "face.png"),
        "--out",
        str(tmp_path / "o"),
    ]
    assert main(words) == 2
    assert "face.png" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
