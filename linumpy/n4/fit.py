"""N4: fit the log bias field of an image, exactly as ITK's N4ITK computes it.

With `v` the log intensities in the mask and `b` the log bias field (0 at first), one iteration is

1. ``u = v - b``, and its histogram;
2. the sharpened histogram gives the expected true value E(u) (`linumpy.n4.sharpen`);
3. a cubic B-spline is fitted to the residual ``u - E(u)`` by Lee's scattered-data approximation, and added to
   `b`.

A level ends when the update's coefficient of variation falls below 0.001, or its iterations are used up; then
the lattice is refined to twice the spans without changing the field.

ITK fits voxel by voxel over 4 x 4 x 4 control points. Here the samples lie on a grid, where both of Lee's
sums are separable: with ``t`` the product of one weight per axis, ``sum(t**2)`` is a product of per-axis
sums, and the control points ``sum(t**3 / sum(t**2) * r) / sum(t**2)`` are three small contractions. Same
numbers, a few nanoseconds per voxel.

Differences from ITK: voxels that are not finite and positive take no part; an axis of one sample is a
constant; the mean update is summed in double precision, so the convergence test may stop one or two
iterations apart; spans can be refined on some axes only.

Axes are (Z, Y, X).

References
----------
Tustison et al. 2010, doi:10.1109/TMI.2010.2046908. Lee, Wolberg, Shin 1997, doi:10.1109/2945.620490.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import numpy.typing as npt

from linumpy.n4 import bspline
from linumpy.n4.grid import as_triple, as_whole, is_real, real_numbers
from linumpy.n4.lattice import Lattice
from linumpy.n4.passes import ArrayPasses, Passes
from linumpy.n4.record import BiasFit, Level
from linumpy.n4.workers import available_cores

__all__ = ["BACKENDS", "BiasFit", "Level", "fit_log_bias_field"]

BACKENDS = ("cpu", "native", "gpu", "numpy")
DEFAULT_ITERATIONS = (50, 50, 50, 50)
CONVERGENCE_THRESHOLD = 0.001
MAX_ITERATIONS = 1 << 32  # what SimpleITK can count to
MAX_CONTROL_POINTS = 1 << 26  # of a whole lattice; 256 MB. More is a unit mixed up

Progress = Callable[[int, int, float], None]

log = logging.getLogger(__name__)


def fit_log_bias_field(
    samples: npt.ArrayLike,
    mask: npt.ArrayLike | None,
    *,
    n_control_points: Sequence[int],
    n_iterations: Sequence[int] = DEFAULT_ITERATIONS,
    origin_mm: Sequence[float] = (0.0, 0.0, 0.0),
    spacing_mm: Sequence[float] = (1.0, 1.0, 1.0),
    refinements: int | Sequence[int] | None = None,
    convergence_threshold: float = CONVERGENCE_THRESHOLD,
    backend: str = "native",
    workers: int | None = None,
    progress: Progress | None = None,
) -> BiasFit:
    """Fit the log bias field of the samples of an image.

    Parameters
    ----------
    samples : array_like of shape (Z, Y, X)
        Intensities (not logarithms) on the sample grid, any real dtype and layout. Not modified.
    mask : array_like of bool, shape (Z, Y, X), optional
        Samples that take part; None for all. Samples that are not finite and positive in single precision never do.
    n_control_points : sequence of int
        Control points (z, y, x) of the first level, at least 4 each. Taken as 1 on an axis of one sample.
    n_iterations : sequence of int
        Most iterations of each level; its length is the number of levels.
    origin_mm, spacing_mm : sequence of float
        Position (z, y, x) of the first sample and distance between samples; they place the lattice and change
        no number of the fit.
    refinements : int or sequence of int, optional
        Number of times that the spans are halved on each axis (z, y, x), after the first levels; default
        after every level but the last. ``backend="cpu"`` has the default only.
    convergence_threshold : float
        A level ends when the update's coefficient of variation is below this; 0 runs all iterations.
    backend : {"native", "cpu", "gpu", "numpy"}
        ``"native"``: compiled, on the CPU. ``"cpu"``: SimpleITK. ``"gpu"``: CuPy; without a CUDA device falls
        back to ``"native"`` with a logged warning. ``"numpy"``: the plain array version.
    workers : int, optional
        Threads on the CPU; default all cores that this process may use. Changes no bit of the result (but
        SimpleITK's).
    progress : callable, optional
        Called after each iteration with (level, iteration, convergence), both counted from 0.

    Returns
    -------
    BiasFit
        The lattice, the record of the levels, what computed it, and how many samples took part. With no
        sample in the mask the field is 0 everywhere and a warning is logged.

    Raises
    ------
    ValueError
        If a shape, count or backend is not one of the above, or the last lattice would be absurdly large.
    """
    image = np.asarray(samples)
    if image.dtype.kind == "f":
        with np.errstate(over="ignore"):  # beyond single precision is infinite, and takes no part
            image = image.astype(np.float32, copy=False)
    inside = usable_samples(image, mask)
    iterations = _checked_iterations(n_iterations)
    n_refinements = _checked_refinements(len(iterations), refinements)
    control_points = _checked_control_points(image.shape, n_control_points, n_refinements)
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}; choose one of {', '.join(BACKENDS)}")
    if workers is not None:
        workers = as_whole(workers, "workers", 1)
    spacing = as_triple(spacing_mm, "spacing_mm")
    extent = tuple((n - 1) * step for n, step in zip(image.shape, spacing, strict=True))
    n_voxels = int(np.count_nonzero(inside))
    if n_voxels == 0:
        log.warning(
            "no sample in the mask has a finite, positive intensity: the bias field is 1 everywhere (a smaller "
            "shrink factor takes more samples)"
        )
        flat = Lattice(np.zeros(control_points, np.float32), tuple(origin_mm), extent, image.shape)  # type: ignore[arg-type]
        return BiasFit(flat, (), "none", 0)

    if backend == "cpu":
        from linumpy.n4 import itk

        coefficients, levels = itk.fit(
            image,
            inside,
            control_points,
            iterations,
            n_refinements,
            spacing,
            convergence_threshold=convergence_threshold,
            workers=workers,
            progress=progress,
        )
        name = "simpleitk"
    else:
        with closing(_passes(backend, image, inside, workers)) as passes:
            coefficients, levels = _iterate(
                passes, image.shape, control_points, iterations, n_refinements, convergence_threshold, progress
            )
        name = passes.name
    lattice = Lattice(coefficients, tuple(origin_mm), extent, image.shape)  # type: ignore[arg-type]
    return BiasFit(lattice, tuple(levels), name, n_voxels)


def usable_samples(image: npt.NDArray[Any], mask: npt.ArrayLike | None) -> npt.NDArray[np.bool_]:
    """Return the mask without the samples that have no logarithm: not finite, zero or negative.

    Raises
    ------
    ValueError
        If the image is not 3-D, empty or not of real numbers, or the mask has another shape.
    """
    if image.ndim != 3 or image.size == 0 or image.dtype.kind not in "buif":
        raise ValueError(
            f"the image has shape {image.shape} and dtype {image.dtype}; expected real numbers with axes (Z, Y, X) "
            "and at least one voxel"
        )
    with np.errstate(invalid="ignore"):
        usable = (image > 0) & (image < np.inf)
    if mask is not None:
        inside = np.asarray(mask)
        if inside.shape != image.shape:
            raise ValueError(
                f"mask has shape {inside.shape}, image {image.shape}; resample the mask to the image's grid"
            )
        usable &= inside.astype(bool)
    return usable


def _iterate(
    passes: Passes,
    shape: Sequence[int],
    n_control_points: Sequence[int],
    n_iterations: Sequence[int],
    refinements: Sequence[int],
    convergence_threshold: float,
    progress: Progress | None,
) -> tuple[npt.NDArray[np.float32], list[Level]]:
    """Run the levels and return the control points of the log bias field with their record."""
    bases = [bspline.fit_basis(n, cp) for n, cp in zip(shape, n_control_points, strict=True)]
    field = passes.xp.zeros(tuple(basis.n_control_points for basis in bases))
    constant = [n == 1 for n in shape]
    levels = []
    for level, limit in enumerate(n_iterations):
        passes.use_bases(*bases)
        history: list[float] = []
        while len(history) < limit and (not history or history[-1] >= convergence_threshold):
            expected = passes.sharpen(passes.histogram())
            update = passes.fit_residual(expected)
            history.append(passes.subtract(update))
            field = field + update
            if progress is not None:
                progress(level, len(history) - 1, history[-1])
        reported = tuple(1 if one else basis.n_control_points for one, basis in zip(constant, bases, strict=True))
        convergence = history[-1] if history else None
        levels.append(Level(reported, len(history), convergence, tuple(history)))  # type: ignore[arg-type]
        for axis, basis in enumerate(bases):
            if level < refinements[axis] and not constant[axis]:
                field = bspline.refine(field, axis)
                bases[axis] = bspline.fit_basis(shape[axis], 2 * basis.n_control_points - bspline.DEGREE)
    kept = tuple(slice(0, 1) if one else slice(None) for one in constant)
    coefficients = field[kept]
    if hasattr(coefficients, "get"):  # CuPy
        coefficients = coefficients.get()
    return coefficients.astype(np.float32), levels


def _passes(backend: str, image: npt.NDArray[Any], inside: npt.NDArray[np.bool_], workers: int | None) -> Passes:
    """Return what computes the passes for a backend; where that is not what was asked for, the log says so."""
    if backend == "gpu":
        from linumpy import gpu

        if gpu.GPU_AVAILABLE:
            from linumpy.n4.cuda import CudaPasses

            return CudaPasses(image, inside)
        log.warning("no CUDA device that CuPy can use: the fit runs on the CPU")
    if backend != "numpy":
        try:
            from linumpy.n4.native import NativePasses
        except ImportError as error:
            log.warning("Numba does not load (%s): the fit runs in plain NumPy, some ten times slower", error)
        else:
            return NativePasses(image, inside, workers or available_cores())
    return ArrayPasses(image, inside)


def _checked_iterations(n_iterations: Sequence[int]) -> list[int]:
    numbers = [] if is_real(n_iterations) else real_numbers(n_iterations)
    if not numbers or any(not 0 <= n < MAX_ITERATIONS or n != int(n) for n in numbers):
        raise ValueError(
            f"n_iterations is {n_iterations!r}; give the most iterations of each fitting level as whole numbers, one "
            "per level: [50, 50] is two levels"
        )
    return [int(n) for n in numbers]


def _checked_refinements(n_levels: int, refinements: int | Sequence[int] | None) -> tuple[int, int, int]:
    most = n_levels - 1
    if refinements is None:
        return most, most, most
    wanted = np.broadcast_to(np.asarray(refinements), 3)
    if any(n != int(n) or not 0 <= n <= most for n in wanted):
        raise ValueError(
            f"refinements is {refinements!r}; each axis can be refined 0 to {most} times with {most + 1} levels"
        )
    z, y, x = (int(n) for n in wanted)
    return z, y, x


def _checked_control_points(
    shape: Sequence[int], n_control_points: Sequence[int], refinements: Sequence[int]
) -> tuple[int, int, int]:
    wanted = as_triple(n_control_points, "n_control_points", integer=True)
    if min(wanted) < bspline.DEGREE + 1:
        raise ValueError(f"n_control_points is {wanted}; a cubic B-spline needs at least 4 on each axis")
    z, y, x = (1 if n == 1 else cp for n, cp in zip(shape, wanted, strict=True))
    last = [cp if cp == 1 else ((cp - 3) << times) + 3 for cp, times in zip((z, y, x), refinements, strict=True)]
    if math.prod(last) > MAX_CONTROL_POINTS:
        raise ValueError(
            f"{(z, y, x)} control points refined {tuple(refinements)} times make a lattice of {tuple(last)}, more "
            f"than {MAX_CONTROL_POINTS} control points; is the voxel size in millimetres? Otherwise give a larger "
            "spline distance or fewer levels"
        )
    return z, y, x
