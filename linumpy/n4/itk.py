"""SimpleITK's N4 behind the same types: the reference backend.

SimpleITK hands out no control points. The field that they make on a grid of our choosing determines them,
though: `GetLogBiasFieldAsImage` on a dense grid over the lattice, and least squares on each axis, give them
back to single precision. ITK runs the levels, and refines every axis after each level but the last.

Axes are (Z, Y, X) here and (x, y, z) in SimpleITK: arrays pass as they are, sizes and spacings reversed. An
axis of one sample, which ITK cannot fit, is dropped: the filter runs in two dimensions, or on a line repeated
as a narrow image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from linumpy.n4 import bspline
from linumpy.n4.record import Level

MAX_THREADS = 1 << 16  # ITK itself starts fewer
SAMPLES_PER_SPAN = 4  # of the grid that control points are recovered from; 1 would do, the rest averages rounding


def fit(
    image: npt.NDArray[Any],
    mask: npt.NDArray[np.bool_],
    n_control_points: Sequence[int],
    n_iterations: Sequence[int],
    refinements: Sequence[int],
    spacing_mm: Sequence[float],
    *,
    convergence_threshold: float,
    workers: int | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> tuple[npt.NDArray[np.float32], list[Level]]:
    """Run SimpleITK's N4 and return the control points (cz, cy, cx) of its log bias field with their record.

    Parameters are those of `linumpy.n4.fit.fit_log_bias_field`, checked there.

    Raises
    ------
    ValueError
        If `refinements` asks for anything but a refinement of every axis after each level, fewer than two axes have
        more than one sample, or the first level has no iteration.
    """
    sitk: Any = import_module("SimpleITK")
    kept = [axis for axis in range(3) if image.shape[axis] > 1]
    if len(kept) < 2:
        raise ValueError(
            f"the sample grid has shape {image.shape}; SimpleITK's N4 needs two axes of more than one sample. Use "
            "backend 'native', or a smaller shrink factor"
        )
    if any(refinements[axis] != len(n_iterations) - 1 for axis in kept):
        raise ValueError(
            f"refinements is {tuple(refinements)}; SimpleITK refines every axis after each of its {len(n_iterations)} "
            "levels but the last. Use backend 'native' to refine axes apart"
        )
    if n_iterations[0] < 1:
        raise ValueError(
            f"n_iterations is {list(n_iterations)}; SimpleITK's first level needs at least 1 iteration. Use backend "
            "'native', or leave the level out"
        )
    shape = [image.shape[axis] for axis in kept]
    first_control_points = [n_control_points[axis] for axis in kept]

    grid = sitk.GetImageFromArray(np.where(mask, image, 0).astype(np.float32).reshape(shape))
    label = sitk.GetImageFromArray(mask.astype(np.uint8).reshape(shape))
    for picture in (grid, label):
        picture.SetSpacing([spacing_mm[axis] for axis in reversed(kept)])
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations([int(n) for n in n_iterations])
    n4.SetNumberOfControlPoints(first_control_points[::-1])
    n4.SetConvergenceThreshold(convergence_threshold)
    if workers is not None:
        n4.SetNumberOfThreads(min(workers, MAX_THREADS))

    histories: list[list[float]] = [[] for _ in n_iterations]

    def record() -> None:
        level, convergence = n4.GetCurrentLevel(), n4.GetCurrentConvergenceMeasurement()
        histories[level].append(convergence)
        if progress is not None:
            progress(level, len(histories[level]) - 1, convergence)

    n4.AddCommand(sitk.sitkIterationEvent, record)
    n4.Execute(grid, label)

    spans = [cp - bspline.DEGREE for cp in first_control_points]
    last = [(n << (len(n_iterations) - 1)) + bspline.DEGREE for n in spans]
    coefficients = _control_points(n4, last).astype(np.float32)
    whole = [1, 1, 1]
    for axis, n in zip(kept, last, strict=True):
        whole[axis] = n
    levels = []
    for level, history in enumerate(histories):
        sizes = [1, 1, 1]
        for axis, n in zip(kept, spans, strict=True):
            sizes[axis] = (n << level) + bspline.DEGREE
        convergence = history[-1] if history else None
        levels.append(Level((sizes[0], sizes[1], sizes[2]), len(history), convergence, tuple(history)))
    return coefficients.reshape(whole), levels


def _control_points(n4: Any, n_control_points: Sequence[int]) -> npt.NDArray[np.float64]:
    """Return the control points that make the filter's field, by least squares on each axis."""
    sitk: Any = import_module("SimpleITK")
    n_samples = [SAMPLES_PER_SPAN * (n - bspline.DEGREE) + bspline.DEGREE + 1 for n in n_control_points]
    dense = sitk.Image(n_samples[::-1], sitk.sitkFloat32)  # ITK stretches the lattice over whatever grid it is given
    values = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(dense)).astype(np.float64)
    for axis, (m, n) in enumerate(zip(n_samples, n_control_points, strict=True)):
        inverse = np.linalg.pinv(bspline.fit_basis(m, n).dense())
        values = np.moveaxis(np.tensordot(inverse, values, axes=(1, axis)), 0, axis)
    recovered: npt.NDArray[np.float64] = values
    return recovered
