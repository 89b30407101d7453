"""The metrics' networks with their published weights, on real pictures; skipped where `lia fetch` has not been run."""

import pytest
import simplejpeg
import torch
from safetensors.torch import load_file
from skimage import data
from torch.nn import functional as F

from lia_model.efficientnet import FEATURES, load_efficientnet_lite0
from lia_model.pixels import to_float, to_uint8
from orchestration.assets import cache, table
from orchestration.evaluation.frechet import FeatureMoments, frechet_distance
from orchestration.evaluation.perceptual import vgg16_hed_distance

CATS = {281, 282, 285}
ESPRESSO = 967


def cached(asset):
    found = next(row for row in cache.status() if row.name == asset.name)
    if not found.cached:
        pytest.skip(f"{found.path} is not cached: lia fetch {asset.name}")
    return found.path


@pytest.fixture(scope="module")
def efficientnet():
    return load_efficientnet_lite0(cached(table.EFFICIENTNET_LITE0))


def square(picture, left, size=224):
    return to_float(torch.from_numpy(picture[:size, left : left + size].copy()))[None]


def as_jpeg(image, quality):
    (pixels,) = to_uint8(image)
    coded = simplejpeg.decode_jpeg(simplejpeg.encode_jpeg(pixels, quality=quality))
    return to_float(torch.from_numpy(coded))[None]


def blurred(image, factor):
    small = F.interpolate(image, scale_factor=1 / factor, mode="bilinear", antialias=True)
    return F.interpolate(small, image.shape[2:], mode="bilinear")


def test_efficientnets_features_are_those_of_efficientnet_lite_pytorch(efficientnet):
    # The five largest features, and their length, as version 0.1.0 of that package computes them of these pixels.
    features = efficientnet(square(data.chelsea(), left=114))[0]
    largest = features.topk(5)
    assert largest.indices.tolist() == [112, 549, 451, 287, 345]
    expected = torch.tensor([5.1040, 4.4622, 3.8232, 3.7585, 3.6459])
    torch.testing.assert_close(largest.values, expected, rtol=0, atol=1e-3)
    assert features.norm().item() == pytest.approx(17.0773, abs=1e-3)


def test_efficientnet_knows_what_it_sees(efficientnet):
    classifier = load_file(cached(table.EFFICIENTNET_LITE0))
    cat, cup = data.chelsea()[:, 75:375], data.coffee()[:, 100:500]
    images = [to_float(torch.from_numpy(picture.copy()))[None] for picture in (cat, cup)]
    features = torch.cat([efficientnet(image) for image in images])
    logits = F.linear(features, classifier["_fc.weight"], classifier["_fc.bias"])
    assert set(logits[0].topk(3).indices.tolist()) == CATS
    assert logits[1].argmax().item() == ESPRESSO


def test_frechet_distance_grows_with_damage(efficientnet):
    astronaut = data.astronaut()
    places = [(top, left) for top in range(0, 289, 96) for left in range(0, 289, 96)]
    crops = [square(astronaut[top:], left) for top, left in places]

    def moments(images):
        found = FeatureMoments(FEATURES)
        found.add(efficientnet(torch.cat(images)))
        return found

    truth = moments(crops)
    slight, strong = (moments([blurred(crop, factor) for crop in crops]) for factor in (2, 4))
    assert 1 < frechet_distance(truth, slight) < frechet_distance(truth, strong)


def test_vgg16_hed_distance_grows_with_damage():
    distance = vgg16_hed_distance(cached(table.VGG16_HED))
    face = square(data.astronaut(), left=112)
    versions = [
        as_jpeg(face, 95),
        as_jpeg(face, 50),
        blurred(face, 2),
        blurred(face, 4),
        square(data.coffee(), 112),
    ]
    found = [distance(version, face).item() for version in versions]
    assert distance(face, face).item() == 0
    assert found == sorted(found)
    assert found[0] < 0.01
    assert found[-1] > 0.3
