"""A registered model behind `mlflow models serve`, called over HTTP, rightly and wrongly."""

import base64
import json
import re
import shutil
import struct
import subprocess
import sys
import urllib.error
import urllib.request
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from lia_model.animation import animate
from lia_model.pixels import to_float, to_uint8
from lia_model.weights import load_generator
from pipelines.media.images import read_image
from pipelines.media.video import decode_frames, encode_video, read_info
from tests.loopback import ServerProcess
from tests.small_model import register_small_model

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "animating.md"
SIZE, FRAMES, FPS = 32, 12, 12


def drawn_frame(number: int) -> np.ndarray:
    """A bright disc on a ramp of colours, further right the higher the number: uint8 (36,48,3)."""
    y, x = np.mgrid[:36, :48]
    frame = np.stack([5 * x, 7 * y, 255 - 5 * x], axis=-1).astype(np.uint8)
    frame[(y - 18) ** 2 + (x - 12 - 2 * number) ** 2 < 80] = 255
    return frame


def png(image: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return file.getvalue()


SOURCE = png(drawn_frame(3))
DRIVING = encode_video(map(drawn_frame, range(FRAMES)), FPS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def server(folder):
    server = ServerProcess(
        ["mlflow", "models", "serve", "--env-manager", "local", "--model-uri", "models:/lia@demo"],
        folder / "server.log",
        MLFLOW_TRACKING_URI=register_small_model(folder),
        MLFLOW_DISABLE_TELEMETRY="true",
    )
    try:
        server.start()
        yield server
    finally:
        server.kill()


def text(file: bytes) -> str:
    return base64.b64encode(file).decode()


def row(source: bytes = SOURCE, driving: bytes = DRIVING) -> dict[str, str]:
    return {"source": text(source), "driving": text(driving)}


def request(*rows: dict[str, object], **params: object) -> dict[str, object]:
    return {"dataframe_records": rows or [row()], **({"params": params} if params else {})}


def post(server: ServerProcess, body: object) -> tuple[int, str]:
    """(status, body) of the answer to a request."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{server.uri}/invocations", data, {"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def videos(server: ServerProcess, body: object) -> list[bytes]:
    status, answer = post(server, body)
    assert status == 200, answer
    return [base64.b64decode(prediction["video"]) for prediction in json.loads(answer)["predictions"]]


def alike(found: bytes, expected: bytes) -> bool:
    """Whether videos show the same: how floats are rounded may differ between requests, and with it a file's bytes."""
    one, other = (np.stack(list(decode_frames(video))).astype(int) for video in (found, expected))
    return one.shape == other.shape and float(np.abs(one - other).mean()) < 0.5


def local_animation(folder: Path, mode: str) -> np.ndarray:
    """What the generator makes of the same files here, after H.264: (T,S,S,3) as integers."""
    generator = load_generator(folder / "generator").eval()
    source = to_float(torch.from_numpy(read_image(SOURCE, SIZE)))[None]
    driving = (to_float(torch.from_numpy(frame)) for frame in decode_frames(DRIVING, SIZE))
    video = encode_video(map(to_uint8, animate(generator, source, driving, mode)), FPS)
    return np.stack(list(decode_frames(video))).astype(int)


@pytest.mark.parametrize("mode", ["absolute", "relative"])
def test_an_image_and_a_video_give_the_video_that_the_generator_makes(server, folder, mode):
    (video,) = videos(server, request(mode=mode))
    info = read_info(video)
    assert (info.width, info.height, info.fps, info.n_frames) == (SIZE, SIZE, FPS, FRAMES)
    found = np.stack(list(decode_frames(video))).astype(int)
    expected = local_animation(folder, mode)
    assert np.abs(found - expected).mean() < 0.5
    assert np.abs(found - expected[::-1]).mean() > 1


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": row()},
        {"inputs": {name: [value] for name, value in row().items()}},
        {"instances": [row()]},
        request(),
        {"dataframe_split": {"columns": list(row()), "data": [list(row().values())]}},
        {
            "inputs": {
                name: base64.encodebytes(value).decode()
                for name, value in [("source", SOURCE), ("driving", DRIVING)]
            }
        },
    ],
    ids=["inputs", "inputs-lists", "instances", "records", "split", "base64-in-lines"],
)
def test_every_request_format_of_mlflow_gives_the_same(server, body):
    for found, expected in zip(videos(server, body), videos(server, request(mode="absolute")), strict=True):
        assert alike(found, expected)


def test_two_rows_are_two_animations_in_order(server):
    other = png(drawn_frame(9))
    both = videos(server, request(row(), row(other)))
    alone = videos(server, request()) + videos(server, request(row(other)))
    assert all(alike(found, expected) for found, expected in zip(both, alone, strict=True))
    assert not alike(*both)


def test_requests_at_the_same_time_do_not_mix(server):
    sources = [png(drawn_frame(number)) for number in range(4)]
    bodies = [request(row(source)) for source in sources]
    with ThreadPoolExecutor(len(bodies)) as pool:
        together = list(pool.map(lambda body: videos(server, body), bodies))
    for (found,), body in zip(together, bodies, strict=True):
        assert alike(found, *videos(server, body))


def video_without_frames() -> bytes:
    file = BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        output.start_encoding()
    return file.getvalue()


def enormous_png() -> bytes:
    """A file of 57 bytes that states 100,000 x 100,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


NO_FILE = "is plain text, neither a file nor base64"
WRONG = {
    "no-image": (request({"driving": text(DRIVING)}), r"missing inputs \['source'\]"),
    "no-video": (request({"source": text(SOURCE)}), r"missing inputs \['driving'\]"),
    "null": (request({**row(), "source": None}), "column source"),
    "path": (request({**row(), "source": "face.png"}), "column source .*padding"),
    "path-as-input": ({"inputs": {**row(), "source": "face.png"}}, f"row 0: source: {NO_FILE}"),
    "text-as-image": (request(row(b"A text.\nNo image.\n")), f"row 0: source: {NO_FILE}"),
    "empty-image": (request(row(b"")), "row 0: source: <0 bytes>: the file is empty"),
    "half-an-image": (request(row(SOURCE[:-40])), "row 0: source: <.* bytes>: the PNG image is damaged"),
    "enormous-image": (request(row(enormous_png())), "row 0: source: <57 bytes>: .*more .* allowed"),
    "video-as-image": (request(row(DRIVING)), "row 0: source: .*is a video; a still image is needed"),
    "image-as-video": (request(row(driving=SOURCE)), "row 0: driving: .*is a still image"),
    "text-as-video": (request(row(driving=b"A text.\n")), f"row 0: driving: {NO_FILE}"),
    "torn-video": (request(row(driving=DRIVING[:-100])), r"row 0: driving: .*cut off after frame \d"),
    "no-frames": (request(row(driving=video_without_frames())), "row 0: driving: .*no video stream"),
    "second-row": (request(row(), row(DRIVING)), "row 1: source: .*is a video"),
    "unknown-mode": (request(mode="sideways"), "mode must be one of .*'sideways'"),
    "mode-of-wrong-type": (request(mode=5), "mode.*string"),
    "params-of-wrong-type": ({**request(), "params": "relative"}, "[Pp]arameters must be a dictionary"),
    "no-format": (row(), "exactly one of the input fields"),
    "no-json": (b"source=face.png", "valid JSON"),
}


@pytest.mark.parametrize(("body", "reason"), WRONG.values(), ids=WRONG)
def test_wrong_input_gets_a_400_with_the_reason(server, body, reason):
    status, answer = post(server, body)
    assert status == 400, answer
    error = json.loads(answer)
    assert error["error_code"] in ("BAD_REQUEST", "INVALID_PARAMETER_VALUE")
    assert re.search(reason, error["message"])
    assert "stack_trace" not in error
    assert "Traceback" not in answer
    assert len(answer) < 2000 or "inputs" in body
    assert server.answers()


def test_after_all_that_it_still_animates(server):
    (video,) = videos(server, request())
    assert read_info(video).n_frames == FRAMES


@pytest.mark.parametrize("language", ["sh", "python"])
def test_the_documented_request_works_as_it_stands(server, language, tmp_path):
    documentation = DOCUMENTATION.read_text()
    if language == "sh" and not (shutil.which("curl") and shutil.which("jq")):
        pytest.skip("curl and jq are not both installed")
    (lines,) = re.findall(rf"```{language}\n(.*?/invocations.*?)```", documentation, flags=re.DOTALL)
    assert "127.0.0.1:5001" in lines
    (tmp_path / "face.png").write_bytes(SOURCE)
    (tmp_path / "talk.mp4").write_bytes(DRIVING)
    program = lines.replace("127.0.0.1:5001", f"127.0.0.1:{server.port}")
    interpreter = ["bash", "-euo", "pipefail", "-c"] if language == "sh" else [sys.executable, "-c"]
    subprocess.run([*interpreter, program], cwd=tmp_path, check=True)
    (expected,) = videos(server, request(mode="relative"))
    assert alike((tmp_path / "moving.mp4").read_bytes(), expected)
