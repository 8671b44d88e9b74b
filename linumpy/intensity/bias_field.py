"""N4 bias field correction of volumes in memory: the public functions.

Axes are (Z, Y, X); voxel sizes and spline distances are millimetres in the same order. A corrected image is
``image / bias_field``; the field is smooth, positive, and known up to a constant factor.

The fits work on every k-th voxel; the native solver needs about 5 bytes per sample, SimpleITK 50. The results are two
float32 volumes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from linumpy.intensity.sections import section_bounds
from linumpy.intensity.tissue_mask import compute_tissue_mask
from linumpy.n4.correct import BIAS_FIELD_FLOOR, FloatVolume, checked_mask, correct_volume, divide, result_buffers
from linumpy.n4.grid import REAL_KINDS, as_whole, is_real
from linumpy.n4.workers import available_cores

__all__ = ["apply_bias_field", "compute_tissue_mask", "n4_correct", "n4_correct_per_section"]

BACKENDS = ("cpu", "gpu", "auto", "native")

log = logging.getLogger(__name__)


def n4_correct(
    vol: npt.NDArray[Any],
    mask: npt.NDArray[Any] | None = None,
    *,
    shrink_factor: int | Sequence[int] = 4,
    n_iterations: Sequence[int] | None = None,
    spline_distance_mm: float | Sequence[float] = 10.0,
    voxel_size_mm: float | Sequence[float] = (1.0, 1.0, 1.0),
    backend: str = "cpu",
    out: FloatVolume | None = None,
    bias_out: FloatVolume | None = None,
    workers: int | None = None,
) -> tuple[FloatVolume, FloatVolume]:
    """Estimate the bias field of a volume with N4 and divide it out.

    Parameters
    ----------
    vol : ndarray of shape (Z, Y, X)
        Intensities of any real dtype. Voxels that are not finite and positive take no part in the fit; they
        are divided by the field like all others.
    mask : ndarray of shape (Z, Y, X), optional
        Voxels that the fit uses: True or any value but 0. None uses the full volume.
    shrink_factor : int or (z, y, x)
        The fit runs on every k-th voxel of each axis. Larger is faster; an axis of few planes wants 1.
    n_iterations : sequence of int, optional
        Most iterations of each fitting level; the length is the number of levels, and each level halves the
        spans of the spline. Default ``[50, 50, 50, 50]``.
    spline_distance_mm : float or (z, y, x)
        Distance between the knots of the first level. Smaller follows faster shading; never fewer than 4
        control points per axis.
    voxel_size_mm : float or (z, y, x)
        Voxel size.
    backend : {"cpu", "gpu", "auto", "native"}
        ``"cpu"``: SimpleITK, the reference. ``"native"``: this project's solver, the same numbers hundreds of
        times faster. ``"gpu"``: the same on a CUDA device, through `linumpy.gpu.n4.n4_correct_gpu`; without
        one it falls back to the CPU with a logged warning. ``"auto"``: ``"gpu"`` where there is a CUDA
        device, else ``"cpu"``.
    out, bias_out : ndarray of float32, shape (Z, Y, X), optional
        Buffers for the results (not with ``"cpu"``), which share no memory with another array; only `out` may be
        `vol` itself.
    workers : int, optional
        Threads of a fit on the CPU; default all cores that the process may use.

    Returns
    -------
    corrected, bias_field : ndarray of float32, shape (Z, Y, X)
        ``vol / bias_field``, and the bias field; ones, and a logged warning, where no sample of the fit is in the
        mask, finite and positive.

    Raises
    ------
    ValueError
        If a shape, dtype, number or backend is not one of the above, or buffers are given with ``"cpu"``.
    """
    backend = _checked_backend(backend, out, bias_out)
    settings: dict[str, Any] = {
        "shrink_factor": shrink_factor,
        "n_iterations": n_iterations,
        "spline_distance_mm": spline_distance_mm,
        "voxel_size_mm": voxel_size_mm,
        "out": out,
        "bias_out": bias_out,
        "workers": workers,
    }
    if backend == "gpu":
        from linumpy.gpu.n4 import n4_correct_gpu

        return n4_correct_gpu(vol, mask, **settings)
    return correct_volume(vol, mask, backend=backend, **settings)


def apply_bias_field(
    vol: npt.NDArray[Any], bias_field: npt.NDArray[Any], floor: float = BIAS_FIELD_FLOOR
) -> FloatVolume:
    """Divide a volume by a bias field.

    Parameters
    ----------
    vol : ndarray
        Intensities of any real dtype.
    bias_field : ndarray, same shape
        Bias field (not its logarithm).
    floor : float
        No voxel is divided by less; positive, in single precision too.

    Returns
    -------
    ndarray of float32
        ``vol / max(bias_field, floor)``.

    Raises
    ------
    ValueError
        If the shapes differ, an array is not of real numbers, or `floor` is not positive.
    """
    vol, bias_field = np.asarray(vol), np.asarray(bias_field)
    if vol.shape != bias_field.shape:
        raise ValueError(f"bias_field has shape {bias_field.shape}, vol {vol.shape}; evaluate the field on vol's grid")
    if vol.dtype.kind not in REAL_KINDS or bias_field.dtype.kind not in REAL_KINDS:
        raise ValueError(f"vol has dtype {vol.dtype}, bias_field {bias_field.dtype}; give real numbers")
    if not (is_real(floor) and np.float32(min(floor, 1)) > 0):
        raise ValueError(f"floor is {floor}; give a number that is positive in single precision")
    return divide(vol, bias_field, floor)


def n4_correct_per_section(
    vol: npt.NDArray[Any],
    n_serial_slices: int | Sequence[Sequence[int]],
    mask: npt.NDArray[Any] | None = None,
    *,
    n_processes: int = 1,
    **kwargs: Any,
) -> tuple[FloatVolume, FloatVolume]:
    """Correct every serial section by itself.

    Parameters
    ----------
    vol : ndarray of shape (Z, Y, X)
        The stack of sections.
    n_serial_slices : int or sequence of (z_start, z_stop)
        Number of sections of equal depth (section i is planes ``round(i * Z / n)`` to ``round((i + 1) * Z /
        n)``), or the planes of each.
    mask : ndarray of shape (Z, Y, X), optional
        As in `n4_correct`. A section without a voxel in the mask keeps its voxels.
    n_processes : int
        Sections fitted at a time, each in a process of its own; more than 1 in a script wants its work under ``if
        __name__ == "__main__":``. With a GPU backend they run one after another.
    **kwargs
        Passed to `n4_correct`; `out` and `bias_out` are buffers for the whole stack.

    Returns
    -------
    corrected, bias_field : ndarray of float32, shape (Z, Y, X)
        Both stitched from the sections.

    Raises
    ------
    ValueError
        As `n4_correct`, and if the sections do not cover the planes in order.
    concurrent.futures.process.BrokenProcessPool
        If a process ends before its time.
    """
    vol = np.asarray(vol)
    if vol.ndim != 3:
        raise ValueError(f"vol has shape {vol.shape}; expected three axes (Z, Y, X)")
    mask = checked_mask(mask, vol.shape)
    n_processes = as_whole(n_processes, "n_processes", 1)
    out, bias_out = kwargs.pop("out", None), kwargs.pop("bias_out", None)
    kwargs["backend"] = _checked_backend(kwargs.get("backend", "cpu"), out, bias_out)
    corrected, bias_field = result_buffers(out, bias_out, vol, mask)

    sections = [slice(*bounds) for bounds in section_bounds(vol.shape[0], n_serial_slices)]
    parts = [(vol[section], None if mask is None else mask[section]) for section in sections]
    n_processes = 1 if kwargs["backend"] == "gpu" else min(n_processes, len(sections))
    if n_processes > 1:
        kwargs.setdefault("workers", max(1, available_cores() // n_processes))
    correct_part = partial(_correct_part, kwargs=kwargs)
    try:
        with ProcessPoolExecutor(n_processes) if n_processes > 1 else nullcontext() as pool:
            results = map(correct_part, parts) if pool is None else pool.map(correct_part, parts)
            for section, (corrected_part, bias_part) in zip(sections, results, strict=True):
                corrected[section], bias_field[section] = corrected_part, bias_part
    except BrokenProcessPool as error:
        raise BrokenProcessPool(
            "a process that fitted sections ended before its time: start a script's work under `if __name__ == "
            "'__main__':` (processes import the script), give fewer n_processes if memory ran out, or n_processes=1"
        ) from error
    return corrected, bias_field


def _correct_part(
    part: tuple[npt.NDArray[Any], npt.NDArray[Any] | None], kwargs: dict[str, Any]
) -> tuple[FloatVolume, FloatVolume]:
    return n4_correct(*part, **kwargs)


def _checked_backend(backend: str, out: object, bias_out: object) -> str:
    """Return the backend that `backend` names here, "auto" resolved.

    Raises
    ------
    ValueError
        If there is no such backend, or it takes no buffers and was given one.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}; choose one of {', '.join(map(repr, BACKENDS))}")
    if backend == "auto":
        from linumpy import gpu

        backend = "gpu" if gpu.GPU_AVAILABLE else "cpu"
        log.info("backend 'auto' is %r here", backend)
    if backend == "cpu" and (out is not None or bias_out is not None):
        raise ValueError(
            "out and bias_out are buffers of the backends 'native' and 'gpu'; backend 'cpu' (SimpleITK) takes none: "
            "leave them out, or choose another backend"
        )
    return backend
