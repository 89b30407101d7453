import pytest
import torch

from lia_model.config import LiaConfig
from lia_model.motion import MotionBasis, MotionHead, move


@pytest.mark.parametrize("motion_dim", [1, 3, 16])
def test_directions_are_orthonormal(motion_dim):
    basis = MotionBasis(LiaConfig(style_dim=16, motion_dim=motion_dim)).double()
    directions = basis()
    torch.testing.assert_close(directions.T @ directions, torch.eye(motion_dim, dtype=torch.float64))


def test_directions_keep_lapacks_signs():
    basis = MotionBasis(LiaConfig(style_dim=16, motion_dim=3))
    assert torch.equal(basis(), torch.linalg.qr(basis.weight + 1e-8).Q)


def test_half_precision_weights_are_decomposed_in_float32():
    assert MotionBasis(LiaConfig(style_dim=16, motion_dim=3)).bfloat16()().dtype == torch.float32


def test_head_is_a_linear_map():
    head = MotionHead(LiaConfig(style_dim=16, motion_dim=3)).double()
    x, y = torch.randn(2, 16, dtype=torch.float64), torch.randn(2, 16, dtype=torch.float64)
    assert head(x).shape == (2, 3)
    torch.testing.assert_close(head(x + y), head(x) + head(y) - head(torch.zeros_like(x)))


def test_move():
    directions = torch.eye(4)[:, :2]
    moved = move(torch.zeros(1, 4), torch.tensor([[2.0, -3.0]]), directions)
    assert torch.equal(moved, torch.tensor([[2.0, -3.0, 0.0, 0.0]]))
