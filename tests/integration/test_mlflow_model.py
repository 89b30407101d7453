"""A registered model animates in another process, in another folder, without this repository."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import av
import pytest

from orchestration.packaging import drawn_example
from tests.small_model import register_small_model

ROOT = Path(__file__).parents[2]
FRAMES = 4

# What stands in for a machine that has the model's requirements and nothing else: -I keeps the working directory and
# PYTHONPATH out, and the finder refuses what the repository and its other dependencies would provide.
STRANGER = """
import json, sys, warnings

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("orchestration", "tracking", "ray", "webdataset", "ffmpeg", "simplejpeg"):
            raise AssertionError(f"the model imports {name}")

sys.meta_path.insert(0, Refusing())
sys.path = [entry for entry in sys.path if entry != sys.argv[1]]
uri, answer = sys.argv[2:]
import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException

model = mlflow.pyfunc.load_model(uri)
example = model.input_example
source, driving = example.iloc[0]

def refusal(data, **named):
    try:
        model.predict(data, **named)
    except MlflowException as error:
        return [error.error_code, str(error)]

videos = {
    "example": model.predict(example),
    "dict": model.predict({"source": source, "driving": driving}, params={"mode": "relative"}),
    "two rows": model.predict(pd.concat([example, example], ignore_index=True)),
}
for name, frame in videos.items():
    for row, video in enumerate(frame["video"]):
        with open(f"{answer}/{name} {row}.mp4", "wb") as file:
            file.write(video)
refusals = {
    "no image": refusal({"source": b"hello", "driving": driving}),
    "empty image": refusal({"source": b"", "driving": driving}),
    "image as driving": refusal({"source": source, "driving": source}),
    "cut video": refusal({"source": source, "driving": driving[:200]}),
    "text": refusal({"source": "a.png", "driving": driving}),
    "number": refusal(pd.DataFrame([{"source": 1, "driving": driving}], dtype=object)),
    "mode": refusal(example, params={"mode": "sideways"}),
    "missing column": refusal({"source": source}),
}
import lia_model
print(json.dumps({"refusals": refusals, "code": lia_model.__file__}))
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The address of a store in which a tiny generator is registered as lia@demo."""
    return register_small_model(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def stranger(store, tmp_path_factory):
    """(folder with the videos it made, what it reported) of the other process."""
    folder = tmp_path_factory.mktemp("elsewhere")
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "MLFLOW_TRACKING_URI": store,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-I", "-c", STRANGER, str(ROOT), "models:/lia@demo", str(folder)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout.splitlines()[-1])


def test_code_comes_with_the_model(stranger):
    assert not Path(stranger[1]["code"]).is_relative_to(ROOT)
    assert Path(stranger[1]["code"]).parts[-3:] == ("code", "lia_model", "__init__.py")


@pytest.mark.parametrize("video", ["example 0", "dict 0", "two rows 0", "two rows 1"])
def test_it_animates(stranger, video):
    with av.open(str(stranger[0] / f"{video}.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (32, 32, 25)
        assert len(list(container.decode(stream))) == FRAMES


def test_same_input_same_video(stranger):
    videos = [
        (stranger[0] / f"{name}.mp4").read_bytes() for name in ("example 0", "two rows 0", "two rows 1")
    ]
    assert videos[0] == videos[1] == videos[2]


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("no image", "row 0: source: "),
        ("empty image", "row 0: source: "),
        ("image as driving", "row 0: driving: .*still image"),
        ("cut video", "row 0: driving: "),
        ("text", "row 0: source: is plain text"),
        ("number", "row 0: source: expected the bytes of a file, got int"),
        ("mode", "sideways"),
        ("missing column", "driving"),
    ],
)
def test_wrong_input_is_refused_as_such(stranger, case, reason):
    code, message = stranger[1]["refusals"][case]
    assert code == "INVALID_PARAMETER_VALUE"  # which mlflow models serve answers with status 400
    assert re.search(reason, message)


def test_example_has_that_many_frames(tmp_path):
    (tmp_path / "driving.mp4").write_bytes(drawn_example()["driving"])
    with av.open(str(tmp_path / "driving.mp4")) as container:
        assert len(list(container.decode(video=0))) == FRAMES
