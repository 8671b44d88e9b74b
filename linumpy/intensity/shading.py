"""Shading across a section: what all sections share, and what one has of its own.

N4 tells illumination from anatomy by scale alone, so on one section it follows anatomy too, by 2 to 5 % RMS on whole
brains. Illumination repeats from section to section and anatomy does not: the mean of the sections' lattices, each
control point weighted with the tissue that supports it, keeps the first and loses most of the second. What a section
differs from the mean is its own only as far as it is larger than N4's error, and the mean itself is kept only as far
as it is larger than the error of a mean.

Axes are (Z, Y, X).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from linumpy.n4 import bspline
from linumpy.n4.fit import usable_samples
from linumpy.n4.lattice import Lattice

__all__ = ["OWN_SHADING_ERROR", "smooth_along_depth", "tissue_support", "with_shared_shading", "without_error"]

OWN_SHADING_ERROR = 0.03
"""RMS of what N4 finds, in logarithm, on one section of a brain without bias (docs/quality.md)."""

ALIKE_SECTIONS = 3
"""Neighbouring sections in which N4's error is the same, since their anatomy is."""

Floats = npt.NDArray[np.float64]


def smooth_along_depth(
    samples: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_], sigma: float
) -> npt.NDArray[np.float32]:
    """Average samples of the mask along Z with Gaussian weights; samples outside it neither change nor count.

    Parameters
    ----------
    samples : ndarray of float32, shape (Z, Y, X)
        Intensities.
    mask : ndarray of bool, shape (Z, Y, X)
        Tissue.
    sigma : float
        Standard deviation in samples; 0 for none.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
    """
    if sigma <= 0 or len(samples) == 1:
        return samples
    from scipy import ndimage  # takes longer to import than all else here: the plan needs none of it

    inside = usable_samples(samples, mask)

    def average(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return ndimage.gaussian_filter1d(values, sigma, axis=0, mode="constant")  # type: ignore[no-any-return]

    smooth = average(np.where(inside, samples, np.float32(0)))
    smooth /= np.maximum(average(inside.astype(np.float32)), np.float32(1e-6))
    result: npt.NDArray[np.float32] = np.where(inside, smooth, samples)
    return result


def tissue_support(mask: npt.NDArray[np.bool_], n_control_points: Sequence[int]) -> Floats:
    """Return how much tissue each control point of a lattice across a section rests on.

    Parameters
    ----------
    mask : ndarray of bool, shape (Z, Y, X)
        Tissue at the samples of the fit.
    n_control_points : sequence of int
        Of the lattice (z, y, x).

    Returns
    -------
    ndarray of float64, shape (cy, cx)
        Sum over the samples of tissue of the control point's basis function.
    """
    columns = np.count_nonzero(mask, axis=0).astype(np.float64)
    y, x = (
        _dense(n, max(points, bspline.DEGREE + 1))
        for n, points in zip(columns.shape, n_control_points[1:], strict=True)
    )
    # Plain sums: a BLAS would choose their order by shape.
    support: Floats = np.einsum("yj,yx,xi->ji", y, columns, x, optimize=["einsum_path", (0, 1), (0, 1)])
    return support[: n_control_points[1], : n_control_points[2]]


@lru_cache(maxsize=8)
def _dense(n_samples: int, n_control_points: int) -> Floats:
    """Return the basis at the samples of an axis: all sections have the same."""
    return bspline.fit_basis(n_samples, n_control_points).dense()


def with_shared_shading(lattices: Sequence[Lattice | None], supports: Sequence[Floats | None]) -> list[Lattice | None]:
    """Give every section the shading that all share, and of its own what stands out of N4's error.

    Parameters
    ----------
    lattices : sequence of Lattice or None
        A section each, all on the same grid across XY; None for one without tissue.
    supports : sequence of ndarray or None
        Tissue below each control point, see `tissue_support`.

    Returns
    -------
    list of Lattice or None
        None where there was none.
    """
    found = [(lattice, support) for lattice, support in zip(lattices, supports, strict=True) if lattice is not None]
    if len(found) < 2:
        return list(lattices)
    across = [lattice.coefficients.shape[1:] for lattice, _ in found]
    if len(set(across)) > 1:
        raise ValueError(f"sections have lattices of different sizes {sorted(set(across))}; fit them on one grid")
    # Sections of another number of control points along the depth (one plane has one) share by their mean.
    depths = {lattice.coefficients.shape[0] for lattice, _ in found}
    total = np.zeros(across[0])
    summed = {depth: np.zeros((depth, *across[0])) for depth in depths}
    for lattice, support in found:
        assert support is not None
        total += support
        for depth, sums in summed.items():
            same = lattice.coefficients.shape[0] == depth
            sums += support * (lattice.coefficients if same else lattice.coefficients.mean(axis=0, dtype=np.float64))
    shared = {depth: sums / np.where(total > 0, total, 1) for depth, sums in summed.items()}
    shared = {depth: _kept(common, total, _error_of_mean(len(found))) for depth, common in shared.items()}
    result: list[Lattice | None] = []
    for given, support in zip(lattices, supports, strict=True):
        if given is None or support is None:
            result.append(None)
            continue
        common = shared[given.coefficients.shape[0]]
        own = _kept(given.coefficients - common, support, OWN_SHADING_ERROR)
        result.append(replace(given, coefficients=(common + own).astype(np.float32)))
    return result


def without_error(lattice: Lattice, support: Floats, n_sections: int) -> Lattice:
    """Keep of the stack's field what stands out of N4's error over so many sections.

    Parameters
    ----------
    lattice : Lattice
        Of the stack.
    support : ndarray of float64, shape (cy, cx)
        Tissue below its control points, see `tissue_support`.
    n_sections : int
        Sections of the stack.

    Returns
    -------
    Lattice
        Its mean over the tissue is 0.
    """
    field = lattice.coefficients.astype(np.float64)
    if support.any():
        field -= np.average(field, weights=np.broadcast_to(support, field.shape))
    return replace(lattice, coefficients=_kept(field, support, _error_of_mean(n_sections)).astype(np.float32))


def _error_of_mean(n_sections: int) -> float:
    return OWN_SHADING_ERROR / float(np.sqrt(max(1.0, n_sections / ALIKE_SECTIONS)))


def _kept(coefficients: Floats, support: Floats, error: float) -> Floats:
    """Return what stands out of an error: all of a field that is far larger, nothing of one that is not larger."""
    weight = np.broadcast_to(support, coefficients.shape)
    power = float(np.average(coefficients**2, weights=weight)) if weight.any() else 0.0
    return coefficients * (max(0.0, 1 - error**2 / power) if power else 0.0)
