import torch

from lia_model.synthesis import FlowHead, Synthesis, warp


def test_no_displacement_is_nearly_the_identity():
    """linspace(-1, 1) reaches the image's edges, not its outer pixels' centres: half a pixel off at the border."""
    column = torch.linspace(-1, 1, 64).expand(1, 1, 64, 64)
    flow = torch.zeros(1, 3, 64, 64)
    flow[:, 2] = 100  # an open mask
    warped, mask = warp(column, flow)
    assert torch.equal(mask, torch.ones(1, 1, 64, 64))
    torch.testing.assert_close(warped[..., 8:-8, 8:-8], column[..., 8:-8, 8:-8], rtol=0, atol=1 / 64)


def test_first_flow_channel_moves_along_x():
    feature = torch.zeros(1, 1, 64, 64)
    feature[..., 40:] = 1  # right of column 40
    flow = torch.zeros(1, 3, 64, 64)
    flow[:, 0], flow[:, 2] = 0.5, 100  # tanh(.5) = .46 of half the image: 14.8 px
    warped, _ = warp(feature, flow)
    assert not warped[0, 0, 32, :24].any()
    assert warped[0, 0, 32, 27:48].all()
    assert not warped[0, 0, 32, 52:].any()  # beyond the image there is nothing


def test_closed_mask_hides_the_feature():
    flow = torch.full((1, 3, 8, 8), -200.0)
    flow[:, :2] = 0
    warped, mask = warp(torch.ones(1, 2, 8, 8), flow)
    assert not mask.any()
    assert not warped.any()


def test_flow_is_float32_under_autocast():
    head = FlowHead(8, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        flow = head(torch.randn(1, 8, 8, 8).bfloat16(), torch.randn(1, 16), torch.randn(1, 3, 4, 4))
    assert flow.dtype == torch.float32


def test_features_of_one_image_serve_a_batch(toy_config):
    torch.manual_seed(0)
    synthesis = Synthesis(toy_config).double()
    features = [torch.randn(1, 8, size, size).double() for size in toy_config.resolutions()]
    latents = torch.randn(3, 16).double()
    one_by_one = torch.cat([synthesis(latent[None], features) for latent in latents])
    torch.testing.assert_close(synthesis(latents, features), one_by_one)
