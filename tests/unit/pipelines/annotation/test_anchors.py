"""The grid of anchors against the networks' published counts and orders."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.annotation.anchors import anchor_centres
from pipelines.annotation.blaze import FACE_LAYOUT, POSE_LAYOUT


@pytest.mark.parametrize(
    ("layout", "count"),
    [pytest.param(FACE_LAYOUT, 2304, id="face"), pytest.param(POSE_LAYOUT, 2254, id="pose")],
)
def test_as_many_anchors_as_the_network_has_outputs(layout, count):
    assert anchor_centres(layout.input_size, layout.grids).shape == (count, 2)


@pytest.mark.parametrize(
    ("input_size", "grids", "expected"),
    [
        pytest.param(4, ((2, 1),), [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)], id="rows-first"),
        pytest.param(2, ((2, 3),), [(0.5, 0.5)] * 3, id="shared-centre"),
        pytest.param(2, ((2, 1), (1, 1)), [(0.5, 0.5), (0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)],
                     id="two-grids"),
    ],
)  # fmt: skip
def test_order(input_size, grids, expected):
    assert anchor_centres(input_size, grids).tolist() == [list(centre) for centre in expected]


@given(st.integers(1, 16), st.integers(1, 8), st.integers(1, 6))
def test_anchors_lie_evenly_around_the_middle(cells, stride, repeats):
    centres = anchor_centres(cells * stride, ((stride, repeats),))
    assert len(centres) == cells**2 * repeats
    np.testing.assert_allclose(centres.mean(axis=0), 0.5, atol=1e-5)
    assert np.unique(centres, axis=0).shape == (cells**2, 2)


def test_stride_that_does_not_divide_the_input():
    with pytest.raises(ValueError, match="stride 5 does not divide an input of 192"):
        anchor_centres(192, ((5, 1),))
