"""Smooth random fields, a plane at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

# Mean square of a cubic B-spline's weights over a knot span, which sets the variance of a field.
_SPLINE_POWER = 151.0 / 315.0


class SmoothNoise:
    """A cubic B-spline with random coefficients `scale_mm` apart: zero mean, unit variance."""

    def __init__(
        self,
        rng: np.random.Generator,
        shape: tuple[int, int, int],
        voxel_mm: tuple[float, float, float],
        scale_mm: float,
    ) -> None:
        weights = [_spline_weights(n, size / scale_mm) for n, size in zip(shape, voxel_mm, strict=True)]
        self._wz, self._wy, self._wx = weights
        coefficients = rng.standard_normal(tuple(w.shape[1] for w in weights), dtype=np.float32)
        # An axis of one voxel has the weights 1/6, 2/3, 1/6 only.
        power = np.prod([0.5 if n == 1 else _SPLINE_POWER for n in shape])
        self._coefficients = coefficients / np.float32(np.sqrt(power))

    def plane(self, z: int) -> FloatArray:
        """Return the field on plane `z`, float32 (Y, X)."""
        at_z = np.tensordot(self._wz[z], self._coefficients, axes=1)
        plane: FloatArray = self._wy @ at_z @ self._wx.T
        return plane


def _spline_weights(n_voxels: int, knots_per_voxel: float) -> FloatArray:
    """Return the weights (voxel, coefficient) of a uniform cubic B-spline along one axis."""
    position = np.arange(n_voxels) * knots_per_voxel
    span = position.astype(np.intp)
    t = position - span
    taps = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6
    weights = np.zeros((n_voxels, int(span[-1]) + 4), np.float32)
    for k in range(4):
        weights[np.arange(n_voxels), span + k] = taps[k]
    return weights
