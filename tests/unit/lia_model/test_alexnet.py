import pytest
import torch
from torch.nn import functional as F

from lia_model.alexnet import ALEXNET_CHANNELS, AlexNetFeatures, load_alexnet
from lia_model.vgg import normalise
from lia_model.weights import WeightsError


def test_names_and_numbers_of_parameters_are_torchvisions():
    network = AlexNetFeatures()
    convolutions = [f"features.{index}.{part}" for index in (0, 3, 6, 8, 10) for part in ("weight", "bias")]
    assert list(network.state_dict()) == convolutions
    # torchvision documents 61,100,840 parameters, of which the classifier's layers have these.
    classifier = (256 * 36 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000
    assert sum(tensor.numel() for tensor in network.state_dict().values()) == 61_100_840 - classifier


def test_features_are_the_five_relus():
    network = AlexNetFeatures()
    image = torch.rand(2, 3, 64, 64) * 2 - 1
    features = network(image)
    assert tuple(feature.shape[1] for feature in features) == ALEXNET_CHANNELS
    assert [feature.shape[2] for feature in features] == [15, 7, 3, 3, 3]
    state = network.state_dict()
    x = normalise(image)
    for index, stride, padding, pooled, feature in zip(
        (0, 3, 6, 8, 10),
        (4, 1, 1, 1, 1),
        (2, 2, 1, 1, 1),
        (False, True, True, False, False),
        features,
        strict=True,
    ):
        x = F.max_pool2d(x, 3, 2) if pooled else x
        weight, bias = state[f"features.{index}.weight"], state[f"features.{index}.bias"]
        x = F.conv2d(x, weight, bias, stride, padding).relu()
        torch.testing.assert_close(feature, x)


def test_loads_torchvisions_file(tmp_path):
    state = {**AlexNetFeatures().state_dict(), "classifier.1.weight": torch.zeros(2)}
    torch.save(state, tmp_path / "alexnet.pth")
    network = load_alexnet(tmp_path / "alexnet.pth")
    assert torch.equal(network.features[10].bias, state["features.10.bias"])
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_refuses_other_files(tmp_path):
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "vgg.pth")
    with pytest.raises(WeightsError, match=r"vgg\.pth: lacks features\.0\.bias"):
        load_alexnet(tmp_path / "vgg.pth")
