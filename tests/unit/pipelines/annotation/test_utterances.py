"""VoxCeleb's utterance files."""

from fractions import Fraction

import pytest

from pipelines.annotation.regions import Region
from pipelines.annotation.utterances import index_utterances, read_utterance, speaker
from pipelines.errors import InputError, MetadataError

V1 = """Identity  : \tid10661
Reference : \tlSI69L4DidQ
Offset    : \t-1
FV Conf   : \t17.997\t(1)
ASD Conf  : \t6.338

FRAME \tX \tY \tW \tH\x20
002316 \t223 \t80 \t130 \t130\x20
002317 \t-4 \t80 \t130 \t130\x20
002319 \t213 \t71 \t130 \t130\x20
"""
V2 = """Identity  : \tid00012
Reference : \tlSI69L4DidQ
Offset    : \t2
FV Conf   : \t20.230\t(1)
ASD Conf  : \t2.765

FRAME \tX \tY \tW \tH\x20
000349 \t0.319 \t0.067 \t0.424 \t0.753\x20
000350 \t0.250 \t0.500 \t0.500 \t0.250\x20
"""


@pytest.fixture
def write(tmp_path):
    def write_file(text: str):
        path = tmp_path / "id10661" / "lSI69L4DidQ" / "00001.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write_file


def test_version_1_counts_pixels_of_a_frame_360_high(write):
    utterance = read_utterance(write(V1))
    assert (utterance.person, utterance.video_id, utterance.version) == ("id10661", "lSI69L4DidQ", 1)
    assert utterance.frames == (2316, 2317, 2319)
    assert utterance.region_at(2316, Fraction(25), (1280, 720)) == Region(446, 160, 706, 420)


def test_version_2_counts_shares_of_the_frame(write):
    utterance = read_utterance(write(V2))
    assert utterance.version == 2
    assert utterance.region_at(350, Fraction(25), (1000, 400)) == Region(250, 200, 750, 300)


@pytest.mark.parametrize(
    ("number", "fps", "covered"),
    [
        (2316, Fraction(25), True),
        (2318, Fraction(25), False),
        (2316, Fraction(25001, 1000), True),
        # A frame of the annotation is two of a file at 50 fps: 4632 and 4633 are its frame 2316.
        (4631, Fraction(50), False),
        (4632, Fraction(50), True),
        (4635, Fraction(50), True),
        (4636, Fraction(50), False),
    ],
)
def test_frames_are_counted_at_25_a_second(write, number, fps, covered):
    utterance = read_utterance(write(V1))
    assert utterance.covers(number, fps) == covered
    assert (utterance.region_at(number, fps, (640, 360)) is not None) == covered


def test_names_of_early_releases_lose_their_dots(write):
    assert read_utterance(write(V1.replace("id10661", "A.J._Buckley"))).person == "A_J__Buckley"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("002317 \t-4", "002317 \t0.5", "line 9: '0.5 80 130 130' are neither whole pixels nor shares"),
        ("002317 \t-4 \t80 \t130 \t130", "002317 \t.1 \t.2 \t.3 \t.4", "line 9: whole pixels and shares"),
        ("002317", "002316", "line 9: frame 2316 does not come after frame 2316"),
        ("002317", "-2317", "line 9: '-2317' is not a frame number"),
        ("002317", "9" * 30, "line 9: '99999999999999999999' is not a frame number"),
        ("-4 \t80 \t130", "-4 \t80 \t0", "line 9: a box of 0 by 130 has no area"),
        ("-4 \t80 \t", "-4 \t", "line 9: 4 cells where there should be FRAME X Y W H"),
        ("80 \t130 \t130 \n002319", "nan \t130 \t130 \n002319", "line 9: '-4 nan 130 130' are neither"),
        ("lSI69L4DidQ", "another", "Reference is 'another', but the folder is 'lSI69L4DidQ'"),
        ("Identity  : \tid10661\n", "", "no Identity above this line"),
        ("id10661", "../id", "Identity = '__/id' holds '/'"),
        ("Offset    :", "Offset", "line 3: 'Offset"),
        ("FRAME \tX", "FRAMES \tX", "line 7: 'FRAMES"),
        (V1[V1.index("002316") :], "", "line 7: no frames follow"),
        (V1, "", "there is no line FRAME X Y W H"),
    ],
)
def test_anything_else_is_refused_by_name_and_line(write, old, new, message):
    assert old in V1
    path = write(V1.replace(old, new))
    with pytest.raises(MetadataError) as refused:
        read_utterance(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert message in str(refused.value)


def test_binary_files_and_files_that_are_gone_are_refused(write):
    path = write("")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MetadataError, match="not a text file"):
        read_utterance(path)
    path.unlink()
    with pytest.raises(MetadataError, match="not a text file"):
        read_utterance(path)


def test_index(write, tmp_path):
    path = write(V1)
    assert index_utterances(tmp_path) == {"lSI69L4DidQ": [path]}
    with pytest.raises(InputError, match="no such folder"):
        index_utterances(tmp_path / "none")
    with pytest.raises(InputError, match="holds no <person>/<video_id>"):
        index_utterances(path.parent)


@pytest.mark.parametrize(
    ("detections", "expected"),
    [
        pytest.param([], None, id="nobody"),
        pytest.param([Region(200, 0, 300, 100)], None, id="somebody-else"),
        pytest.param([Region(30, 30, 70, 70)], 0, id="a-tighter-box"),
        pytest.param([Region(200, 0, 300, 100), Region(10, 10, 90, 90)], 1, id="of-two-people"),
        pytest.param([Region(40, 40, 60, 60), Region(10, 10, 90, 90)], 1, id="the-better-fit"),
        pytest.param([Region(60, 0, 160, 100)], None, id="only-overlaps"),
    ],
)
def test_the_speaker_is_the_one_in_the_annotated_box(detections, expected):
    found = speaker(detections, Region(0, 0, 100, 100))
    assert found == (None if expected is None else detections[expected])
