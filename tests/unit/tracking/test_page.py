import pytest

from tracking.page import shown_figure


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (0.0123456, "0.01235"),
        (22.0, "22"),
        (float("nan"), "nan"),
        (7, "7"),
        ("x", "x"),
        (1e-9, "1e-09"),
    ],
)
def test_figures(value, shown):
    assert shown_figure(value) == shown
