import torch

from lia_model.pixels import to_float, to_uint8


def test_every_pixel_value_survives_the_round_trip():
    pixels = torch.arange(256, dtype=torch.uint8).repeat(3, 1).T.reshape(1, 16, 16, 3)
    images = to_float(pixels)
    assert images.shape == (1, 3, 16, 16)
    assert images.min() == -1
    assert images.max() == 1
    assert (to_uint8(images) == pixels.numpy()).all()


def test_unbounded_output_is_clamped():
    assert to_uint8(torch.tensor([-7.0, 7.0, 0.0]).reshape(3, 1, 1)).tolist() == [[[0, 255, 128]]]
