import pytest
import torch
from safetensors.torch import save_file

from lia_model.vgg import VggFeatures, load_vgg, normalise
from lia_model.weights import WeightsError


@pytest.mark.parametrize(("variant", "last", "convolutions"), [("vgg16", 28, 13), ("vgg19", 34, 16)])
def test_names_are_torchvisions(variant, last, convolutions):
    with torch.device("meta"):
        names = list(VggFeatures(variant).state_dict())
    assert names[:2] == ["features.0.weight", "features.0.bias"]
    assert names[-1] == f"features.{last}.bias"
    assert len(names) == 2 * convolutions


@pytest.mark.parametrize(("variant", "taps"), [("vgg19", (1, 6, 11, 20, 29)), ("vgg16", (1, 6, 11, 18, 25))])
def test_features_are_the_first_relu_of_each_group(variant, taps):
    vgg = VggFeatures(variant)
    image = torch.rand(1, 3, 32, 32) * 2 - 1
    features = vgg(image)
    assert [tuple(feature.shape[1:]) for feature in features] == [
        (64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 2, 2)
    ]  # fmt: skip
    assert all((feature >= 0).all() for feature in features)
    assert vgg.taps == taps
    torch.testing.assert_close(features[2], vgg.features[: taps[2] + 1](normalise(image)))


def test_normalisation():
    white = normalise(torch.full((1, 3, 1, 1), 3.0)).flatten()  # clamped to 1
    torch.testing.assert_close(white, torch.tensor([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225]))


def test_refuses_other_variants():
    with pytest.raises(ValueError, match='"vgg19" or "vgg16", got \'vgg11\''):
        VggFeatures("vgg11")


@pytest.mark.parametrize("variant", ["vgg16", "vgg19"])
def test_loads_torchvision_files(tmp_path, variant):
    state = {**VggFeatures(variant).state_dict(), "classifier.0.weight": torch.zeros(2)}
    torch.save(state, tmp_path / "vgg.pth")
    vgg = load_vgg(tmp_path / "vgg.pth")
    assert vgg.variant == variant
    assert torch.equal(vgg.features[0].weight, state["features.0.weight"])
    assert not any(parameter.requires_grad for parameter in vgg.parameters())


def test_loads_safetensors(tmp_path):
    state = VggFeatures("vgg16").state_dict()
    save_file(state, tmp_path / "vgg.safetensors")
    assert torch.equal(load_vgg(tmp_path / "vgg.safetensors").features[28].bias, state["features.28.bias"])


def test_refuses_what_is_not_vgg(tmp_path):
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "cut.pth")
    with pytest.raises(WeightsError, match=r"cut.pth: lacks features.0.bias"):
        load_vgg(tmp_path / "cut.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match=r"list.pth: not a state dict"):
        load_vgg(tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(WeightsError, match=r"text.pth: "):
        load_vgg(tmp_path / "text.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10")
    with pytest.raises(WeightsError, match=r"cut.safetensors: not readable as a safetensors file"):
        load_vgg(tmp_path / "cut.safetensors")
    with pytest.raises(WeightsError, match=r"absent.pth: there is no such file"):
        load_vgg(tmp_path / "absent.pth")
