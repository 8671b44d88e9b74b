"""Uniform cubic B-splines on one axis: the four weights of a position, and the refinement to twice the spans.

An axis of `n` control points has `n - 3` spans. The parameter of a position runs from 0 to `n - 3`; its whole
part names the span, and the four control points from there on weigh in with the cubic basis functions of the
rest.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

DEGREE = 3
# ITK keeps the last sample just inside the last span: by this part of the distance between two samples.
ITK_LAST_KNOT_PULL = 1e-3

FloatArray = npt.NDArray[np.float64]


class Basis(NamedTuple):
    """Weights of the control points at `n` positions of one axis.

    Attributes
    ----------
    first : ndarray of int32, shape (n,)
        Index of the first of the four control points that reach a position.
    weights : ndarray of float64, shape (n, 4)
        Their weights; each row sums to 1.
    n_control_points : int
        Control points of the axis.
    """

    first: npt.NDArray[np.int32]
    weights: FloatArray
    n_control_points: int

    def dense(self, weights: FloatArray | None = None) -> FloatArray:
        """Return the matrix (n, n_control_points) of `weights` (default: the basis itself)."""
        weights = self.weights if weights is None else weights
        matrix = np.zeros((len(self.first), self.n_control_points))
        np.put_along_axis(matrix, self.first[:, None] + np.arange(DEGREE + 1), weights, axis=1)
        return matrix


def basis(parameter: FloatArray, n_control_points: int) -> Basis:
    """Return the cubic basis at parameters in [0, n_control_points - 3].

    Parameters
    ----------
    parameter : ndarray of float64, shape (n,)
        Positions in spans; the upper end belongs to the last span.
    n_control_points : int
        At least 4.
    """
    first = np.minimum(parameter.astype(np.int32), n_control_points - DEGREE - 1)
    s = parameter - first
    weights = np.stack(
        [
            (1 - s) ** 3 / 6,
            (4 - 6 * s**2 + 3 * s**3) / 6,
            (1 + 3 * s + 3 * s**2 - 3 * s**3) / 6,
            s**3 / 6,
        ],
        axis=1,
    )
    return Basis(first, weights, n_control_points)


@lru_cache(maxsize=64)
def fit_basis(n_samples: int, n_control_points: int) -> Basis:
    """Return the basis at the samples of an axis where ITK places them.

    The first lies at parameter 0, the last a little before the end (`ITK_LAST_KNOT_PULL`). An axis of one
    sample has a constant basis: all weight on the first control point. Callers share the arrays: do not change them.
    """
    if n_samples == 1:
        weights = np.array([[1.0, 0.0, 0.0, 0.0]])
        return Basis(np.zeros(1, np.int32), weights, DEGREE + 1)
    per_sample = (n_control_points - DEGREE) / (n_samples - 1)
    parameter = np.arange(n_samples, dtype=np.float64) * per_sample
    parameter[-1] = (n_samples - 1 - ITK_LAST_KNOT_PULL) * per_sample
    return basis(parameter, n_control_points)


def refine(coefficients: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
    """Return the control points (n -> 2n - 3 on `axis`) of the same function with its spans halved."""
    coarse = np.moveaxis(coefficients, axis, 0)
    fine = np.empty_like(coarse, shape=(2 * len(coarse) - DEGREE, *coarse.shape[1:]))  # on a GPU where `coarse` is
    fine[0::2] = (coarse[:-1] + coarse[1:]) / 2
    fine[1::2] = (coarse[:-2] + 6 * coarse[1:-1] + coarse[2:]) / 8
    return np.moveaxis(fine, 0, axis)
