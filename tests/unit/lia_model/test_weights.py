import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from lia_model.config import LiaConfig
from lia_model.generator import Generator
from lia_model.weights import CONFIG_FILE, WEIGHTS_FILE, WeightsError, load_generator, save_generator


@pytest.fixture
def saved(tmp_path, toy_config):
    torch.manual_seed(0)
    generator = Generator(toy_config)
    save_generator(tmp_path / "model", generator)
    return tmp_path / "model", generator


def test_round_trip(saved):
    folder, generator = saved
    loaded = load_generator(folder)
    assert loaded.config == generator.config
    for name, tensor in generator.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_saving_leaves_two_files_and_replaces_older_ones(saved, toy_config):
    folder, _ = saved
    save_generator(folder, Generator(toy_config))
    assert sorted(path.name for path in folder.iterdir()) == [CONFIG_FILE, WEIGHTS_FILE]


def test_failed_save_leaves_the_old_files(saved, monkeypatch):
    folder, generator = saved

    def full_disk(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    before = (folder / WEIGHTS_FILE).read_bytes()
    monkeypatch.setattr("lia_model.weights.save_file", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_generator(folder, generator)
    assert (folder / WEIGHTS_FILE).read_bytes() == before
    assert len(list(folder.iterdir())) == 2


def edit_config(folder, **changes):
    document = json.loads((folder / CONFIG_FILE).read_text())
    document["model"].update(changes.pop("model", {}))
    (folder / CONFIG_FILE).write_text(json.dumps({**document, **changes}))


def cut(folder):
    path = folder / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:-100])


def without(folder, name):
    tensors = load_file(folder / WEIGHTS_FILE)
    del tensors[name]
    save_file(tensors, folder / WEIGHTS_FILE)


def with_extra(folder):
    save_file({**load_file(folder / WEIGHTS_FILE), "extra": torch.zeros(1)}, folder / WEIGHTS_FILE)


def as_integers(folder):
    tensors = load_file(folder / WEIGHTS_FILE)
    save_file({name: tensor.int() for name, tensor in tensors.items()}, folder / WEIGHTS_FILE)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(cut, r"model.safetensors: not a whole safetensors file", id="cut"),
        pytest.param(
            lambda f: (f / WEIGHTS_FILE).write_text("text"), "not a whole safetensors file", id="foreign"
        ),
        pytest.param(
            lambda f: (f / WEIGHTS_FILE).unlink(), r"model.safetensors: no such file", id="no-weights"
        ),
        pytest.param(lambda f: (f / CONFIG_FILE).unlink(), r"config.json: no such file", id="no-config"),
        pytest.param(lambda f: (f / CONFIG_FILE).write_text("{"), "not readable as JSON", id="broken-json"),
        pytest.param(lambda f: (f / CONFIG_FILE).write_text("[]"), "not a saved generator", id="other-json"),
        pytest.param(lambda f: edit_config(f, format="bert"), "not a saved generator", id="other-format"),
        pytest.param(lambda f: edit_config(f, format_version=9), "format_version 9", id="newer"),
        pytest.param(lambda f: edit_config(f, model={"image_size": 33}), "got 33", id="bad-size"),
        pytest.param(
            lambda f: edit_config(f, model={"depth": 3}), "bad model configuration.*depth", id="unknown-field"
        ),
        pytest.param(
            lambda f: edit_config(f, model={"motion_dim": 5}),
            r"motion_basis.weight has shape \(16, 3\) where the model has \(16, 5\)|"
            r"motion_head.layers.4.* where the model has \(5",
            id="other-sizes",
        ),
        pytest.param(
            lambda f: without(f, "synthesis.constant"), "lacks synthesis.constant", id="missing-tensor"
        ),
        pytest.param(with_extra, "holds unknown tensors extra", id="extra-tensor"),
        pytest.param(as_integers, "holds torch.int32, not floating-point", id="integers"),
    ],
)
def test_refuses_in_one_line(saved, damage, message):
    folder, _ = saved
    damage(folder)
    with pytest.raises(WeightsError, match=message) as caught:
        load_generator(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_many_missing_tensors_are_summed_up(saved):
    folder, _ = saved
    save_file({}, folder / WEIGHTS_FILE)
    with pytest.raises(WeightsError, match=r"lacks encoder.*, .*, .* and \d+ more"):
        load_generator(folder)


def test_larger_model_is_refused_before_anything_is_loaded(saved):
    folder, _ = saved
    edit_config(folder, model={"image_size": 64})
    with pytest.raises(WeightsError, match="lacks"):
        load_generator(folder)


def test_config_file_is_readable(saved):
    folder, generator = saved
    document = json.loads((folder / CONFIG_FILE).read_text())
    assert LiaConfig(**document["model"]) == generator.config
