"""N4 on a volume in memory: subsample, fit, evaluate at every voxel, divide.

The fit sees only the sample grid; the field at full resolution is the fitted spline at each voxel's own
position, so nothing is interpolated twice and no face shows a seam. Works plane by plane: beyond the two
results it needs the samples and a plane of scratch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from linumpy.n4.fit import DEFAULT_ITERATIONS, fit_log_bias_field
from linumpy.n4.grid import REAL_KINDS, SampleGrid, as_triple, n_control_points

BIAS_FIELD_FLOOR = 1e-6  # no voxel is divided by less
OVERLAP_WORK = 1000  # spent on whether interleaved arrays overlap; where it does not suffice, they count as overlapping

FloatVolume = npt.NDArray[np.float32]


def correct_volume(
    vol: npt.ArrayLike,
    mask: npt.ArrayLike | None,
    *,
    shrink_factor: int | Sequence[int],
    n_iterations: Sequence[int] | None,
    spline_distance_mm: float | Sequence[float],
    voxel_size_mm: float | Sequence[float],
    backend: str,
    out: FloatVolume | None = None,
    bias_out: FloatVolume | None = None,
    workers: int | None = None,
) -> tuple[FloatVolume, FloatVolume]:
    """Return the corrected volume and its bias field.

    Parameters are those of `linumpy.intensity.bias_field.n4_correct`; `backend` one of
    `linumpy.n4.fit.fit_log_bias_field`.
    """
    image = np.asarray(vol)
    if image.ndim != 3 or image.size == 0 or image.dtype.kind not in REAL_KINDS:
        raise ValueError(
            f"vol has shape {image.shape} and dtype {image.dtype}; expected real numbers with axes (Z, Y, X) and at "
            "least one voxel"
        )
    inside = checked_mask(mask, image.shape)
    corrected, bias_field = result_buffers(out, bias_out, image, inside)
    voxel = as_triple(voxel_size_mm, "voxel_size_mm")

    grid = SampleGrid.of(image.shape, shrink_factor)
    fit = fit_log_bias_field(
        image[grid.slices],
        None if inside is None else inside[grid.slices],
        n_control_points=n_control_points(image.shape, voxel, spline_distance_mm),
        n_iterations=DEFAULT_ITERATIONS if n_iterations is None else n_iterations,
        origin_mm=grid.origin_mm(voxel),
        spacing_mm=grid.spacing_mm(voxel),
        backend=backend,
        workers=workers,
    )
    plane_shape = (1, *image.shape[1:])
    for z in range(image.shape[0]):
        field = fit.lattice.evaluate(plane_shape, voxel, start=(z, 0, 0))[0]
        np.exp(field, out=field)
        corrected[z] = divide(image[z], field)
        bias_field[z] = field
    return corrected, bias_field


def checked_mask(mask: npt.ArrayLike | None, shape: tuple[int, ...]) -> npt.NDArray[Any] | None:
    """Return a mask as an array.

    Raises
    ------
    ValueError
        If it is not of `shape`, or of what is neither booleans nor real numbers.
    """
    if mask is None:
        return None
    inside = np.asarray(mask)
    if inside.shape != shape:
        raise ValueError(f"mask has shape {inside.shape}, vol {shape}; resample the mask to the grid of vol")
    if inside.dtype.kind not in "b" + REAL_KINDS:
        raise ValueError(f"mask has dtype {inside.dtype}; give booleans or real numbers")
    return inside


def divide(image: npt.NDArray[Any], bias_field: npt.NDArray[Any], floor: float = BIAS_FIELD_FLOOR) -> FloatVolume:
    """Return ``image / max(bias_field, floor)`` in single precision."""
    divisor: FloatVolume = np.maximum(bias_field, np.float32(floor), dtype=np.float32, casting="same_kind")
    np.divide(image.astype(np.float32, copy=False), divisor, out=divisor)
    return divisor


def result_buffers(
    out: FloatVolume | None, bias_out: FloatVolume | None, image: npt.NDArray[Any], mask: npt.NDArray[Any] | None
) -> tuple[FloatVolume, FloatVolume]:
    """Return the buffers for the corrected image and the bias field: the caller's, or new ones.

    Raises
    ------
    ValueError
        If one is not a writable float32 array of the image's shape, or shares memory with another array: what is
        written would be read as input. `out` may be the image itself.
    """
    corrected, bias_field = _buffer(out, "out", image.shape), _buffer(bias_out, "bias_out", image.shape)
    pairs = [
        ("out", corrected, "vol", None if _is_same(corrected, image) else image),
        ("out", corrected, "mask", mask),
        ("bias_out", bias_field, "vol", image),
        ("bias_out", bias_field, "mask", mask),
        ("bias_out", bias_field, "out", corrected),
    ]
    for name, buffer, other_name, other in pairs:
        if other is not None and np.may_share_memory(buffer, other, max_work=OVERLAP_WORK):  # type: ignore[arg-type]
            raise ValueError(
                f"{name} shares memory with {other_name}; give an array of its own (out may be vol itself, whole)"
            )
    return corrected, bias_field


def _is_same(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> bool:
    """Tell whether two arrays of one shape are the same voxels of memory in the same order."""
    first, second = a.__array_interface__, b.__array_interface__
    return first["data"][0] == second["data"][0] and a.strides == b.strides and a.dtype == b.dtype


def _buffer(buffer: FloatVolume | None, name: str, shape: tuple[int, ...]) -> FloatVolume:
    """Return the caller's buffer, or a new one."""
    if buffer is None:
        return np.empty(shape, np.float32)
    if not isinstance(buffer, np.ndarray) or buffer.shape != shape or buffer.dtype != np.float32:
        raise ValueError(
            f"{name} has shape {getattr(buffer, 'shape', None)} and dtype {getattr(buffer, 'dtype', type(buffer))}; "
            f"it must be a float32 array of shape {shape}"
        )
    if not buffer.flags.writeable:
        raise ValueError(f"{name} is read-only; give an array that may be written")
    return buffer
