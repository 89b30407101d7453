"""The distance against closed forms and scipy's matrix root; moments against numpy's of all vectors at once."""

import numpy as np
import pytest
import scipy.linalg
import torch

from orchestration.evaluation.frechet import FeatureMoments, frechet_distance


def moments_of(*parts):
    moments = FeatureMoments(parts[0].shape[1])
    for part in parts:
        moments.add(part)
    return moments


def moments_like(mean, covariance, count=11):
    """Moments as if `count` vectors had been seen."""
    moments = FeatureMoments(len(mean))
    moments.count, moments.mean = count, np.asarray(mean, dtype=np.float64)
    moments.scatter = np.asarray(covariance, dtype=np.float64) * (count - 1)
    return moments


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def mixed(rng, n, dims):
    """Correlated vectors of unequal spread."""
    return rng.standard_normal((n, dims)) @ rng.standard_normal((dims, dims)) + rng.standard_normal(dims)


@pytest.mark.parametrize(
    ("mean", "covariance", "expected"),
    [
        pytest.param([0, 0], np.eye(2), 0, id="the-same"),
        pytest.param([3, 4], np.eye(2), 25, id="moved"),
        pytest.param([0, 0], np.diag([4, 9]), 1 + 4, id="wider"),  # (2 - 1)^2 + (3 - 1)^2
        pytest.param([3, 4], np.diag([4, 9]), 30, id="moved-and-wider"),
        pytest.param([0, 0], np.diag([0, 1]), 1, id="flat"),
        pytest.param([0, 0], np.zeros((2, 2)), 2, id="a-point"),
        pytest.param(
            [0, 0], [[1.25, 0.75], [0.75, 1.25]], (2**0.5 - 1) ** 2 + (0.5**0.5 - 1) ** 2, id="turned"
        ),
    ],
)
def test_gaussians_of_known_distance_from_the_standard_one(mean, covariance, expected):
    standard = moments_like([0, 0], np.eye(2))
    other = moments_like(mean, covariance)
    assert frechet_distance(standard, other) == pytest.approx(expected, abs=1e-12)
    assert frechet_distance(other, standard) == pytest.approx(expected, abs=1e-12)


def test_covariances_that_do_not_commute():
    a, b = np.array([[2.0, 1.0], [1.0, 2.0]]), np.diag([1.0, 9.0])
    # For 2 x 2: trace (A B)^(1/2) = (trace A B + 2 (det A B)^(1/2))^(1/2) = (20 + 2 * 27^(1/2))^(1/2).
    expected = 4 + 10 - 2 * (20 + 2 * 27**0.5) ** 0.5
    distance = frechet_distance(moments_like([0, 0], a), moments_like([0, 0], b))
    assert distance == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n", [300, 10], ids=["of-full-rank", "fewer-vectors-than-features"])
def test_equal_sets(rng, n):
    vectors = mixed(rng, n, 20)
    scale = np.trace(np.cov(vectors.T))
    assert frechet_distance(moments_of(vectors), moments_of(vectors.copy())) == pytest.approx(
        0, abs=1e-12 * scale
    )


def test_agrees_with_the_matrix_root_of_scipy(rng):
    x, y = mixed(rng, 500, 30), mixed(rng, 400, 30)
    a, b = np.cov(x.T), np.cov(y.T)
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(a + b - 2 * scipy.linalg.sqrtm(a @ b).real)
    assert frechet_distance(moments_of(x), moments_of(y)) == pytest.approx(expected, rel=1e-9)


def test_of_fewer_vectors_than_features_it_is_finite_and_exact_in_their_span(rng):
    x, y = mixed(rng, 6, 5), mixed(rng, 7, 5)
    expected = frechet_distance(moments_of(x), moments_of(y))
    # The same vectors turned into 50 dimensions, where both covariances are singular.
    directions = np.linalg.qr(rng.standard_normal((50, 5)))[0]
    found = frechet_distance(moments_of(x @ directions.T), moments_of(y @ directions.T))
    assert found == pytest.approx(expected, rel=1e-9)


def test_of_sets_in_directions_apart(rng):
    x, y = np.zeros((5, 8)), np.zeros((5, 8))
    x[:, :3], y[:, 4:] = rng.standard_normal((5, 3)), rng.standard_normal((5, 4))
    expected = np.square(x.mean(0) - y.mean(0)).sum() + x.var(0, ddof=1).sum() + y.var(0, ddof=1).sum()
    assert frechet_distance(moments_of(x), moments_of(y)) == pytest.approx(expected, rel=1e-12)


def test_a_few_at_a_time_is_all_at_once(rng):
    vectors = mixed(rng, 100, 7)
    moments = moments_of(vectors[:1], vectors[1:40], vectors[40:40], vectors[40:])
    assert moments.count == 100
    np.testing.assert_allclose(moments.mean, vectors.mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance, np.cov(vectors.T), rtol=1e-12)


def test_a_million_vectors_far_from_zero():
    # In float64, sums of squares minus squared sums would lose 12 of 16 digits here, in float32 all of them.
    period = np.array([[1e6 + 1, 1e6 - 1], [1e6 - 1, 1e6 + 1]])
    moments = FeatureMoments(2)
    for _ in range(1000):
        moments.add(np.tile(period, (500, 1)))
    assert moments.count == 1_000_000
    np.testing.assert_allclose(moments.mean, [1e6, 1e6], rtol=1e-15)
    expected = np.array([[1, -1], [-1, 1]]) * 1_000_000 / 999_999
    np.testing.assert_allclose(moments.covariance, expected, rtol=1e-12)


def test_takes_the_networks_tensors():
    moments = FeatureMoments(3)
    moments.add(torch.arange(6.0).reshape(2, 3))
    assert moments.mean.tolist() == [1.5, 2.5, 3.5]
    assert moments.mean.dtype == moments.scatter.dtype == np.float64


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros((2, 4)), r"vectors of 3 features, got an array of \(2, 4\)"),
        (np.zeros(3), r"got an array of \(3,\)"),
        (np.array([[0, np.nan, 0]]), "not finite"),
        (np.array([[0, np.inf, 0]]), "not finite"),
    ],
)
def test_refused_vectors_leave_the_moments_as_they_were(vectors, message):
    moments = moments_of(np.ones((2, 3)))
    with pytest.raises(ValueError, match=message):
        moments.add(vectors)
    assert moments.count == 2
    assert moments.mean.tolist() == [1, 1, 1]


def test_what_cannot_be_compared():
    three, four = moments_of(np.ones((2, 3))), moments_of(np.ones((2, 4)))
    with pytest.raises(ValueError, match="3 and of 4 features cannot be compared"):
        frechet_distance(three, four)
    with pytest.raises(ValueError, match="two vectors at least, got 1"):
        frechet_distance(three, moments_of(np.ones((1, 3))))
