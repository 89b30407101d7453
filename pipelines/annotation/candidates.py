"""From a single-shot detector's raw numbers to objects: decoding, and merging what overlaps.

N objects; P points: a box's left top and right bottom corner, then the object's key points. A anchors.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.annotation.detections import Detection
from pipelines.annotation.litert import sigmoid
from pipelines.annotation.regions import overlap


@dataclass(frozen=True)
class Candidates:
    """Objects that may be there."""

    points: NDArray[np.float64]
    """(N,P,2), x and y: corner, opposite corner, key points."""
    scores: NDArray[np.float64]
    """(N,), 0 to 1."""


def decode(
    raw_AC: NDArray[np.float32],
    logits_A: NDArray[np.float32],
    anchors_A2: NDArray[np.float32],
    input_size: int,
    min_score: float,
) -> Candidates:
    """Objects that score at least `min_score`, in units of the square input.

    A row of `raw_AC` is, in pixels of the input: centre x and y from the anchor's, width, height, and x and y
    of each key point from the anchor's centre.
    """
    scores_A = sigmoid(logits_A)
    kept = np.flatnonzero(scores_A >= min_score)
    pairs_NQ2 = raw_AC.reshape(len(raw_AC), -1, 2)[kept].astype(np.float64) / input_size
    centre_N2, size_N2, keypoints_NK2 = pairs_NQ2[:, 0], pairs_NQ2[:, 1], pairs_NQ2[:, 2:]
    offsets_NP2 = np.concatenate(
        [(centre_N2 - size_N2 / 2)[:, None], (centre_N2 + size_N2 / 2)[:, None], keypoints_NK2], axis=1
    )
    return Candidates(offsets_NP2 + anchors_A2[kept, None], scores_A[kept])


def merge_overlapping(candidates: Candidates, min_overlap: float) -> Candidates:
    """Weighted non-maximum suppression: one object for each group of overlapping ones, the surest first.

    Points become the mean over the group, weighted by score; the score stays the surest one's. Averaging makes
    boxes steadier from frame to frame than keeping the surest one alone does (BlazeFace, 2019, section 3.4).
    """
    groups = _overlapping_groups(candidates, min_overlap)
    means = [
        np.average(candidates.points[group], axis=0, weights=candidates.scores[group]) for group in groups
    ]
    surest = [group[0] for group in groups]
    return Candidates(np.reshape(means, (-1, *candidates.points.shape[1:])), candidates.scores[surest])


def keep_surest(candidates: Candidates, min_overlap: float) -> Candidates:
    """Plain non-maximum suppression: of each group of overlapping objects the surest, the surest first."""
    surest = [group[0] for group in _overlapping_groups(candidates, min_overlap)]
    return Candidates(candidates.points[surest], candidates.scores[surest])


def _overlapping_groups(candidates: Candidates, min_overlap: float) -> list[NDArray[np.intp]]:
    """Indices of the surest candidate and all that overlap it by at least `min_overlap`, then so with the rest."""
    groups = []
    left = np.argsort(-candidates.scores, kind="stable")
    while len(left):
        corners_N22 = candidates.points[left, :2]
        near = overlap(corners_N22, corners_N22[0]) >= min_overlap
        near[0] = True  # a box without area overlaps nothing, itself included
        groups.append(left[near])
        left = left[~near]
    return groups


def joined(parts: Sequence[Candidates]) -> Candidates:
    """All of several lots of candidates, of which there is at least one."""
    return Candidates(
        np.concatenate([part.points for part in parts]), np.concatenate([part.scores for part in parts])
    )


def as_detections(candidates: Candidates, width: int, height: int) -> list[Detection]:
    """The boxes of candidates in pixels, cut off at the edges of their frame; those outside it left out."""
    boxes_N4 = np.clip(candidates.points[:, :2], 0, (width, height)).reshape(-1, 4)
    return [
        Detection(left, top, right, bottom, score)
        for (left, top, right, bottom), score in zip(
            boxes_N4.tolist(), candidates.scores.tolist(), strict=True
        )
        if left < right and top < bottom
    ]
