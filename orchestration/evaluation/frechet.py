"""Frechet distance of two sets of images by the features of a network; lower is better, 0 for equal sets.

FID (Heusel et al., 2017) is that distance on 2,048 features of the Inception network of 2015, at 299 px; video FID on
2,048 of a 3D ResNeXt, of 16 frames at 112 px. The user brings both networks' weights. `frechet_efficientnet_lite0` is
one on EfficientNet-Lite0's 1,280 features at 224 px, whose weights `lia fetch` brings. Their scales differ: compare
each with itself only.

As any distance of this kind it is biased: finite samples of one distribution are a little apart, the more so the fewer
they are. Compare sets of equal size.
"""
# N vectors, D features, B batch, H height, W width

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(eq=False)
class FeatureMoments:
    """Count, mean and covariance of feature vectors that come a few at a time; plain arrays, in float64.

    Deviations are summed about the mean so far, and sums joined, as Chan, Golub and LeVeque (1983) do: sums of squares
    minus squared sums would lose the digits of features whose mean is large beside their spread.
    """

    dims: int
    """Length of a vector: D."""
    count: int = 0
    """Vectors so far."""
    mean: Array = field(init=False)
    """Of the vectors: (D,)."""
    scatter: Array = field(init=False)
    """Sum over vectors of the outer product of their deviation from the mean: (D,D)."""

    def __post_init__(self) -> None:
        self.mean = np.zeros(self.dims)
        self.scatter = np.zeros((self.dims, self.dims))

    def add(self, features_ND: ArrayLike) -> None:
        """Count N more vectors, from the CPU. Raises ValueError if they are of another length or not finite."""
        vectors_ND = np.asarray(features_ND, dtype=np.float64)
        if vectors_ND.ndim != 2 or vectors_ND.shape[1] != self.dims:
            raise ValueError(f"expected vectors of {self.dims} features, got an array of {vectors_ND.shape}")
        if not np.isfinite(vectors_ND).all():
            raise ValueError("features are not finite: the images they were taken from are no numbers")
        if len(vectors_ND) == 0:
            return
        mean_D = vectors_ND.mean(0)
        deviations_ND = vectors_ND - mean_D
        shift_D, total = mean_D - self.mean, self.count + len(vectors_ND)
        between_DD = np.outer(shift_D, shift_D) * (self.count * len(vectors_ND) / total)
        self.scatter += deviations_ND.T @ deviations_ND + between_DD
        self.mean += shift_D * (len(vectors_ND) / total)
        self.count = total

    @property
    def covariance(self) -> Array:
        """The unbiased estimate, over N - 1: (D,D). Raises ValueError of fewer than two vectors."""
        if self.count < 2:
            raise ValueError(f"a covariance needs two vectors at least, got {self.count}")
        return self.scatter / (self.count - 1)


def frechet_distance(a: FeatureMoments, b: FeatureMoments) -> float:
    """Squared 2-Wasserstein distance of the Gaussians with these moments (Dowson and Landau, 1982), in squared units.

    |mean_a - mean_b|^2 + trace(A + B - 2 (A B)^(1/2)) for covariances A and B, of which each may be singular, as with
    fewer vectors than features. Not negative. Raises ValueError if a set has fewer than two vectors.
    """
    if a.dims != b.dims:
        raise ValueError(f"sets of {a.dims} and of {b.dims} features cannot be compared")
    covariance_a, covariance_b = a.covariance, b.covariance
    # The trace of (A B)^(1/2) is the sum of the singular values of A's factor times B's. The root of A B itself is not
    # symmetric and, once rounded, need not be real; factors have no such trouble, whatever the ranks.
    cross = np.linalg.svd(_factor(covariance_a).T @ _factor(covariance_b), compute_uv=False).sum()
    distance = np.square(a.mean - b.mean).sum() + np.trace(covariance_a) + np.trace(covariance_b) - 2 * cross
    return max(0.0, float(distance))


def _factor(covariance_DD: Array) -> Array:
    """F (D,rank) of F F^T = covariance; what rounding cannot tell from zero is no part of the rank."""
    values_D, vectors_DD = np.linalg.eigh(covariance_DD)
    kept = values_D > values_D[-1] * len(values_D) * np.finfo(np.float64).eps
    factor: Array = vectors_DD[:, kept] * np.sqrt(values_D[kept])
    return factor
