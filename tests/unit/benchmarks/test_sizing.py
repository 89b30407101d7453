"""The sizing table's arithmetic, on figures that can be checked by hand."""

import pytest

from benchmarks import sizing
from benchmarks.sizing import CORPORA, Corpus, chosen, shown, size_of, table

CORPUS = Corpus("tens", 1_000, 100, 1.0, 4.0, "")
GIVEN = [
    "core_seconds_a_frame=0.036",
    "bytes_a_frame=1e4",
    "planned_bytes_a_frame=1.28e4",
    "rest_of_video=1.5",
    "lead_in=2",
    "raw_bytes_an_hour=1e9",
    "flops_a_pair=1e12",
    "recipe_pairs=3.6e6",
    "gpu_tflops=10",
    "preparing_cores=5",
    "training_nodes=2",
    "gpus_a_node=5",
    "cache_gb=0.75",
    "spot_vcpu_hour=0.5",
    "gpu_hour=2",
    "s3_gb_month=0.02",
    "efs_gb_month=0.3",
    "efs_written_gb=0.1",
    "efs_read_gb=0.05",
]


def test_each_figure_follows_from_the_constants():
    size = size_of(CORPUS, chosen(GIVEN))
    assert size.frames == 100_000
    assert size.raw_bytes == pytest.approx(6e9)
    assert size.core_hours == pytest.approx(1.0)
    assert size.preparing_hours == pytest.approx(0.2)
    assert size.shard_bytes == pytest.approx(1e9)
    assert size.shards == 5
    assert (size.pairs, size.visits_a_clip) == (3.6e6, 3600)
    assert size.gpu_hours == pytest.approx(100)
    assert size.training_hours == pytest.approx(10)
    assert size.read_bytes == pytest.approx(2e9)
    assert size.preparing_network == pytest.approx(3e9 / 720)
    assert size.preparing_money == pytest.approx(0.5)
    assert size.training_money == pytest.approx(200)
    assert (size.videos_written_money, size.videos_read_money) == (pytest.approx(0.6), pytest.approx(0.1))
    # 5 shards written, and one read for each pair that misses the cache
    assert size.requests_money == pytest.approx(5 * 30 * 5e-6 + 0.9e6 * 35 * 4e-7)
    assert (size.s3_month, size.efs_month) == (pytest.approx(0.02), pytest.approx(1.8))


@pytest.mark.parametrize(
    ("cores", "hours"),
    [pytest.param(50, 0.2, id="more-than-shards"), pytest.param(3, 0.4, id="a-second-round-for-two-shards")],
)
def test_a_shard_is_made_on_one_core(cores, hours):
    assert size_of(CORPUS, chosen([*GIVEN, f"preparing_cores={cores}"])).preparing_hours == pytest.approx(
        hours
    )


def test_a_cache_that_is_too_small_fetches_a_shard_for_each_pair_that_misses():
    size = size_of(CORPUS, chosen(GIVEN))
    assert size.fetched_bytes == pytest.approx(3.6e6 * 0.25 * 1e9 / 5)
    roomy = size_of(CORPUS, chosen([*GIVEN, "cache_gb=1"]))
    assert roomy.fetched_bytes == roomy.read_bytes


def test_machines_of_ones_own_are_free():
    size = size_of(CORPUS, chosen([*GIVEN, "spot_vcpu_hour=0", "gpu_hour=0"]))
    assert (size.preparing_money, size.training_money) == (0, 0)


def test_a_corpus_larger_than_the_recipe_is_gone_through_once():
    assert size_of(CORPUS, chosen([*GIVEN, "recipe_pairs=10"])).visits_a_clip == 1


def test_every_corpus_has_every_row():
    lines = table({corpus.name: size_of(corpus, chosen([])) for corpus in CORPORA}).splitlines()
    assert len(lines) == 2 + len(sizing.ROWS)
    assert {line.count("|") for line in lines} == {len(CORPORA) + 2}


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.01234, "0.012"), (1.234, "1.23"), (12.34, "12.3"), (123456, "123,456")]
)
def test_numbers_are_shown_with_the_digits_that_say_something(value, text):
    assert shown(value) == text


@pytest.mark.parametrize(
    "setting", ["nonsense=1", "gpu_hour", "gpu_hour=cheap", "gpu_hour=-1", "gpu_hour=inf", "gpus_a_node=0"]
)
def test_a_setting_that_makes_no_sense_is_told(setting):
    with pytest.raises(SystemExit, match=setting):
        chosen([setting])
