"""The decay along the depth of a section, measured before N4 and taken out of its samples.

Inside a thin section the tissue hardly changes from plane to plane, the brightness does: attenuation, focus and the
cut surface make up most of the bias field. N4 sees only the histogram and follows such a profile slowly, with knots so
fine that they follow anatomy too. The planes themselves tell it at once. With ``a`` what a column of samples has of its
own (the anatomy) and ``p`` what a plane has (the profile),

    log image(z, y, x) = a(y, x) + p(z) + noise

is fitted over the mask by turns: ``a`` the mean over the column, ``p`` the median over the plane, so that tissue that
begins, ends or changes its class within a section does not count. Every plane is compared with the whole section, not
with its neighbour, so errors do not add up with depth. ``p`` has mean 0 and becomes a spline along Z.

What is left varies slowly across the section, and the planes repeat one another: averaging the samples along Z takes
the speckle away, and with it the wide histogram that holds N4 back. Then N4 fits the rest, and the profile is added to
its lattice: one lattice is the whole field of the section.

What a profile cannot tell: tissue that really grows darker with depth all over the section, in every section alike.

Axes are (Z, Y, X). Memory is 16 bytes a sample beside what N4 takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from linumpy.n4 import bspline
from linumpy.n4.fit import BiasFit, fit_log_bias_field, usable_samples
from linumpy.n4.lattice import Lattice

__all__ = ["add_profile", "depth_profile", "fit_section", "smooth_along_depth"]

MAX_TURNS = 20
TOLERANCE = 1e-5
MIN_TISSUE = 50
"""Fewest samples of a plane that its level is told from."""
PLANES_PER_KNOT = 2.5
"""A spline with a knot at every sampled plane would follow noise."""
MAX_DOUBLINGS = 5

Floats = npt.NDArray[np.float64]


def fit_section(
    samples: npt.NDArray[np.float32],
    mask: npt.NDArray[np.bool_],
    *,
    n_control_points: Sequence[int],
    n_iterations: Sequence[int],
    refinements: Sequence[int] | None = None,
    depth_smoothing: float,
    origin_mm: Sequence[float] = (0.0, 0.0, 0.0),
    spacing_mm: Sequence[float] = (1.0, 1.0, 1.0),
    backend: str = "native",
    workers: int | None = None,
) -> BiasFit:
    """Fit the log bias field of a section: its depth profile, then N4 on what that leaves.

    Parameters
    ----------
    samples, mask, n_control_points, n_iterations, refinements, origin_mm, spacing_mm, backend, workers
        As in `linumpy.n4.fit.fit_log_bias_field`.
    depth_smoothing : float
        Standard deviation, in samples, of the average along Z; 0 for none.

    Returns
    -------
    BiasFit
        The record of N4's fit; its lattice is the sum of profile and fit. A section of one sampled plane has no
        profile: it is N4's fit.
    """
    profile = depth_profile(samples, mask)
    flat = samples / np.exp(profile).astype(np.float32)[:, None, None]
    fit = fit_log_bias_field(
        smooth_along_depth(flat, mask, depth_smoothing),
        mask,
        n_control_points=n_control_points,
        n_iterations=n_iterations,
        refinements=refinements,
        origin_mm=origin_mm,
        spacing_mm=spacing_mm,
        backend=backend,
        workers=workers,
    )
    return replace(fit, lattice=add_profile(fit.lattice, profile)) if fit.n_voxels else fit


def depth_profile(samples: npt.NDArray[Any], mask: npt.NDArray[np.bool_]) -> Floats:
    """Measure how the brightness of a section goes with depth.

    Parameters
    ----------
    samples : ndarray of shape (Z, Y, X)
        Intensities of one section; only finite, positive ones in the mask count.
    mask : ndarray of bool, shape (Z, Y, X)
        Tissue.

    Returns
    -------
    ndarray of float64, shape (Z,)
        Natural logarithm of each plane's level, mean 0. A plane with fewer than 50 samples that other planes share
        takes its neighbours' level.
    """
    n_planes = len(samples)
    inside = usable_samples(samples, mask)
    inside &= np.count_nonzero(inside, axis=0) > 1
    measured = np.count_nonzero(inside, axis=(1, 2)) >= MIN_TISSUE
    if np.count_nonzero(measured) < 2:
        return np.zeros(n_planes)
    inside[~measured] = False
    planes_of_column = np.maximum(np.count_nonzero(inside, axis=0), 1).astype(np.float32)
    log_image = np.log(samples, where=inside, out=np.zeros(samples.shape, np.float32))
    column_sum = log_image.sum(axis=0)
    levels = np.zeros(n_planes)
    for _ in range(MAX_TURNS):
        # The sum over a column of (log image - level) without a copy of the volume.
        level_sum = sum((inside[z] * np.float32(levels[z]) for z in range(n_planes)), np.zeros_like(column_sum))
        own = (column_sum - level_sum) / planes_of_column
        found = np.zeros(n_planes)
        for z in np.flatnonzero(measured):
            found[z] = np.median((log_image[z] - own)[inside[z]])
        found[measured] -= found[measured].mean()
        change = np.abs(found - levels).max()
        levels = found
        if change < TOLERANCE:
            break
    at = np.flatnonzero(measured)
    profile: Floats = np.interp(np.arange(n_planes), at, levels[at])
    profile -= profile.mean()
    return profile


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


def add_profile(lattice: Lattice, profile: Floats) -> Lattice:
    """Add a depth profile, as a spline along Z, to the lattice that was fitted on the same samples.

    Parameters
    ----------
    lattice : Lattice
        Its samples are those of the profile.
    profile : ndarray of float64, shape (Z,)
        What to add, a value a sampled plane.

    Returns
    -------
    Lattice
        Refined along Z where the profile needs more knots: one for every 2.5 planes, the lattice's own doubled at
        most five times.
    """
    n_planes = len(profile)
    if n_planes == 1 or not profile.any():
        return lattice
    wanted = n_planes / PLANES_PER_KNOT
    for _ in range(MAX_DOUBLINGS):
        if 2 * (lattice.n_control_points[0] - bspline.DEGREE) > wanted:
            break
        lattice = lattice.refine((True, False, False))
    spans = lattice.n_control_points[0] - bspline.DEGREE
    # With more knots than planes many splines fit; take one with fewer and refine that.
    halvings = 0
    while spans % 2 == 0 and spans > wanted:
        spans, halvings = spans // 2, halvings + 1
    matrix = bspline.fit_basis(n_planes, spans + bspline.DEGREE).dense()
    # Where spans outnumber planes all the same, the least squares solution of least norm.
    control = np.linalg.lstsq(matrix, profile, rcond=None)[0]
    for _ in range(halvings):
        control = bspline.refine(control, 0)
    total = lattice.coefficients.astype(np.float64) + control[:, None, None]
    return replace(lattice, coefficients=total.astype(np.float32))
