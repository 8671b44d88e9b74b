"""N4 on a CUDA device."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from linumpy import gpu
from linumpy.n4.correct import FloatVolume, correct_volume

__all__ = ["n4_correct_gpu"]

log = logging.getLogger(__name__)


def n4_correct_gpu(
    vol: npt.NDArray[Any],
    mask: npt.NDArray[Any] | None = None,
    *,
    shrink_factor: int | Sequence[int],
    n_iterations: Sequence[int] | None,
    spline_distance_mm: float | Sequence[float],
    voxel_size_mm: float | Sequence[float],
    use_gpu: bool = True,
    out: FloatVolume | None = None,
    bias_out: FloatVolume | None = None,
    workers: int | None = None,
) -> tuple[FloatVolume, FloatVolume]:
    """Estimate the bias field of a volume on the GPU and divide it out.

    Parameters
    ----------
    vol, mask, shrink_factor, n_iterations, spline_distance_mm, voxel_size_mm, out, bias_out, workers
        As in `linumpy.intensity.bias_field.n4_correct`.
    use_gpu : bool
        False runs the fit on the CPU, in the same steps. Without CuPy or a CUDA device that happens too, and
        a warning says so.

    Returns
    -------
    corrected, bias_field : ndarray of float32, shape (Z, Y, X)
        On the host.

    Raises
    ------
    ValueError
        As `linumpy.intensity.bias_field.n4_correct`.
    """
    if use_gpu and not gpu.GPU_AVAILABLE:
        log.warning("no CUDA device that CuPy can use: N4 runs on the CPU (install linumpy[gpu], or check the driver)")
    return correct_volume(
        vol,
        mask,
        shrink_factor=shrink_factor,
        n_iterations=n_iterations,
        spline_distance_mm=spline_distance_mm,
        voxel_size_mm=voxel_size_mm,
        backend="gpu" if use_gpu and gpu.GPU_AVAILABLE else "native",
        out=out,
        bias_out=bias_out,
        workers=workers,
    )
