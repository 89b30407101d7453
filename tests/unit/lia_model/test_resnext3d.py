"""The 3D ResNeXt against a computation without groups or modules; which files are taken for its weights."""

import pytest
import torch
from torch.nn import functional as F

from lia_model.resnext3d import CLIP_FRAMES, INPUT_SIZE, RESNEXT3D_FEATURES, ResNext3dFeatures, load_resnext3d
from lia_model.weights import WeightsError
from tests.seeded_weights import seeded


@pytest.fixture(scope="module")
def network():
    found = ResNext3dFeatures()
    seeded(found)
    return found


@pytest.fixture(scope="module")
def checkpoint(network):
    """What the authors' training wrote, as far as it is read."""
    counts = {"module.bn1.num_batches_tracked": torch.tensor(1)}
    state = {f"module.{name}": tensor for name, tensor in network.state_dict().items()} | counts
    return {"epoch": 90, "arch": "resnext-101", "state_dict": state}


def reference(state, x_BCTHW):
    """Stage by stage from the paper's table 1; a grouped convolution is 32 of one group each."""

    def conv(x, name, stride=1, padding=0, groups=1):
        parts = zip(x.chunk(groups, 1), state[f"{name}.weight"].chunk(groups, 0), strict=True)
        return torch.cat(
            [F.conv3d(part, weight, stride=stride, padding=padding) for part, weight in parts], 1
        )

    def norm(x, name):
        scale, shift, mean, variance = (
            state[f"{name}.{part}"][:, None, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / (variance + 1e-5).sqrt() * scale + shift

    x = norm(conv(x_BCTHW, "conv1", (1, 2, 2), 3), "bn1").relu()
    x = F.max_pool3d(x, 3, 2, 1)
    for stage, blocks in enumerate((3, 4, 23, 3), start=1):
        for index in range(blocks):
            block = f"layer{stage}.{index}"
            stride = 2 if index == 0 and stage > 1 else 1
            inner = norm(conv(x, f"{block}.conv1"), f"{block}.bn1").relu()
            inner = norm(conv(inner, f"{block}.conv2", stride, 1, 32), f"{block}.bn2").relu()
            inner = norm(conv(inner, f"{block}.conv3"), f"{block}.bn3")
            if index == 0:
                x = norm(conv(x, f"{block}.downsample.0", stride), f"{block}.downsample.1")
            x = (inner + x).relu()
    return x.flatten(2).mean(2)


def test_features_are_those_of_a_computation_stage_by_stage(network):
    # Four frames: the layers are the same, and a clip of sixteen takes seconds.
    clip = torch.rand(1, 4, 3, INPUT_SIZE, INPUT_SIZE, generator=torch.Generator().manual_seed(1)) * 2 - 1
    mean = torch.tensor((114.7748, 107.7354, 99.4750))[:, None, None]
    prepared = (clip + 1) / 2 * 255 - mean
    found = network(clip)
    assert found.shape == (1, RESNEXT3D_FEATURES)
    torch.testing.assert_close(
        found, reference(network.state_dict(), prepared.transpose(1, 2)), rtol=1e-3, atol=1e-3 * found.std()
    )


def test_number_of_parameters_is_the_published_one(network):
    # Koepueklue et al. (2019) give 48.75 million for 600 classes; the file is of 400.
    state = network.state_dict()
    statistics = {name for name in state if name.endswith(("running_mean", "running_var"))}
    learned = sum(state[name].numel() for name in state.keys() - statistics)
    assert learned + 200 * (RESNEXT3D_FEATURES + 1) == pytest.approx(48.75e6, abs=0.005e6)


def test_a_clip_of_the_size_of_training_ends_as_one_frame_of_four_by_four(network):
    shapes = []
    with torch.device("meta"):  # where only shapes are computed
        empty = ResNext3dFeatures()
    for number in range(1, 5):
        empty.get_submodule(f"layer{number}").register_forward_hook(
            lambda _module, _inputs, output: shapes.append(tuple(output.shape[1:]))
        )
    empty.layer4(
        empty.layer3(empty.layer2(empty.layer1(torch.empty(1, 64, CLIP_FRAMES // 2, 28, 28, device="meta"))))
    )
    assert shapes == [(256, 8, 28, 28), (512, 4, 14, 14), (1024, 2, 7, 7), (2048, 1, 4, 4)]


def test_frames_are_clamped_resized_and_freed_of_the_mean_of_training(network):
    # Half of each pair of columns is white beyond measure: antialiased, pairs are grey.
    clip = (
        torch.tensor([-1.0, 3.0])
        .repeat(INPUT_SIZE)[None, None, None, None]
        .expand(1, 2, 3, 2 * INPUT_SIZE, -1)
    )
    seen = []
    handle = network.conv1.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    network(clip)
    handle.remove()
    assert seen[0].shape == (1, 3, 2, INPUT_SIZE, INPUT_SIZE)
    inside = seen[0][..., 2:-2, 2:-2].mean((0, 2, 3, 4))
    torch.testing.assert_close(inside, 127.5 - torch.tensor((114.7748, 107.7354, 99.4750)), rtol=0, atol=0.01)
    assert seen[0][0, 0, 0, 50, 2:-2].std() < 127.5 / 3


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "as-in-2017"])
def test_loads_the_published_layout(network, checkpoint, tmp_path, zipped):
    path = tmp_path / "resnext-101-kinetics.pth"
    torch.save(checkpoint, path, _use_new_zipfile_serialization=zipped)
    loaded = load_resnext3d(path)
    assert all(
        torch.equal(tensor, network.state_dict()[name]) for name, tensor in loaded.state_dict().items()
    )
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"module.fc.bias": torch.zeros(51)}, r"fc\.bias has shape \(51,\)"),
        ({"module.layer3.23.bn1.bias": torch.zeros(512)}, r"unknown tensors layer3\.23\.bn1\.bias"),
        ({"module.conv1.weight": 3}, "holds no 'state_dict' of tensors; use resnext-101-kinetics"),
    ],
    ids=["tuned-for-other-classes", "deeper", "no-tensor"],
)
def test_files_of_other_networks_are_refused(checkpoint, tmp_path, change, message):
    torch.save({**checkpoint, "state_dict": checkpoint["state_dict"] | change}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=rf"other\.pth: .*{message}"):
        load_resnext3d(tmp_path / "other.pth")


def test_a_bare_state_dict_or_another_pickle_is_refused(checkpoint, tmp_path):
    torch.save({"conv1.weight": torch.zeros(64)}, tmp_path / "bare.pth")
    with pytest.raises(WeightsError, match=r"bare\.pth: holds no 'state_dict'"):
        load_resnext3d(tmp_path / "bare.pth")
    torch.save({**checkpoint, "optimizer": pytest.approx(1)}, tmp_path / "odd.pth")
    with pytest.raises(WeightsError, match=r"odd\.pth: refused: "):
        load_resnext3d(tmp_path / "odd.pth")
