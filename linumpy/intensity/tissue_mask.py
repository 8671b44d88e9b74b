"""Tissue mask of a serial acquisition: smoothed, one threshold per section, filled and closed.

The recipe: an anisotropic 3-D Gaussian over the whole volume; per serial section a threshold from its
smoothed non-zero voxels, applied per voxel; per plane, holes filled and a closing with a disk; along Z a
closing across section boundaries. What is not finite counts as 0 for the smoothing.

Everything streams: a volume is read in blocks of planes in Z order, once. A section's threshold needs all of
its smoothed voxels before the first is decided; they are kept where they fit `max_bytes`, otherwise the
section is read once more (`mask_memory` tells beforehand). Blocks, threads and the memory bound never change
a bit of the mask.

Arrays are (Z, Y, X), lengths are in voxels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linumpy.intensity.mask_checks import mask_warnings
from linumpy.intensity.mask_plan import MaskMemory, MaskSettings, mask_memory
from linumpy.intensity.mask_smoothing import ReadPlanes
from linumpy.intensity.mask_stream import SectionMask, stream_mask
from linumpy.intensity.sections import section_bounds
from linumpy.n4.grid import REAL_KINDS

__all__ = [
    "MaskMemory",
    "SectionMask",
    "compute_tissue_mask",
    "mask_memory",
    "mask_warnings",
    "stream_tissue_mask",
]


MAX_EXPONENT = 126
"""Of the values of a volume, as a power of 2: sums of two, and their rounding, stay finite in single precision."""


def compute_tissue_mask(
    vol: NDArray[Any],
    smoothing_sigma: float = 2.0,
    n_serial_slices: int | Sequence[Sequence[int]] = 1,
    closing_radius: int = 3,
    z_closing_sections: int = 2,
    smoothing_sigma_z: float = 1.0,
    use_gpu: bool = False,
    *,
    method: str = "otsu",
    min_size: int = 0,
    largest: int = 0,
    workers: int | None = None,
) -> NDArray[np.bool_]:
    """Compute where a serial acquisition shows tissue.

    Parameters
    ----------
    vol : array of shape (Z, Y, X)
        Intensities of any real dtype; tissue is brighter than background. Not finite voxels count as 0. Computed in
        single precision; larger values are scaled by a power of 2 first.
    smoothing_sigma : float
        Standard deviation of the Gaussian in Y and X, voxels, 0 for none.
    n_serial_slices : int or sequence of (z_start, z_stop)
        Number of serial sections of equal depth, or the planes of each.
    closing_radius : int
        Radius of the disk that closes each plane, voxels, 0 for none.
    z_closing_sections : int
        Planes each way of the closing along Z, across section boundaries, 0 for none.
    smoothing_sigma_z : float
        Standard deviation of the Gaussian in Z, voxels, 0 for none.
    use_gpu : bool
        Smooth with CuPy; without CuPy or a CUDA device on the CPU (a debug log line says so).
    method : str
        How the threshold of a section is found: ``otsu`` (scikit-image's ``threshold_otsu`` of the smoothed
        voxels), ``otsu_log`` (Otsu of the logarithms of the positive ones) or ``robust`` (Otsu of the
        logarithms without the low tail, edges put half way up, and the threshold of another section where a
        section is all tissue or has none; see `linumpy.intensity.mask_split`).
    min_size : int
        Drop the pieces of a plane with fewer pixels (8-connected, before the closing along Z), 0 for none.
    largest : int
        Keep only so many pieces of a plane, the largest, 0 for all.
    workers : int, optional
        Threads; by default the processors this process may use. Changes no bit of the mask.

    Returns
    -------
    bool array of shape (Z, Y, X)
        True where tissue.

    Raises
    ------
    ValueError
        If the volume is not 3-D or a setting is out of its range.
    TypeError
        If the volume's dtype is not real.

    Examples
    --------
    >>> vol = np.zeros((4, 40, 40), np.float32)
    >>> vol[:, 10:30, 10:30] = 100
    >>> mask = compute_tissue_mask(vol, n_serial_slices=2)
    >>> bool(mask[0, 20, 20]), bool(mask[0, 5, 5])
    (True, False)
    """
    vol = np.asarray(vol)
    if vol.ndim != 3:
        raise ValueError(f"vol has {vol.ndim} axes {vol.shape}; give a volume (Z, Y, X)")
    if vol.dtype.kind not in REAL_KINDS:
        raise TypeError(f"vol has dtype {vol.dtype}; give real numbers")
    mask = np.zeros(vol.shape, bool)
    if vol.size == 0:
        return mask
    shape = (vol.shape[0], vol.shape[1], vol.shape[2])
    excess = _excess(vol)
    blocks = stream_tissue_mask(
        lambda z0, z1: np.ldexp(vol[z0:z1], -excess) if excess else vol[z0:z1],
        shape,
        section_bounds(vol.shape[0], n_serial_slices),
        smoothing_sigma=smoothing_sigma,
        smoothing_sigma_z=smoothing_sigma_z,
        closing_radius=closing_radius,
        z_closing_sections=z_closing_sections,
        method=method,
        min_size=min_size,
        largest=largest,
        use_gpu=use_gpu,
        workers=workers,
    )
    for z_start, block in blocks:
        mask[z_start : z_start + len(block)] = block
    return mask


def _excess(vol: NDArray[Any]) -> int:
    """Return the power of 2 by which a volume's finite values exceed what sums in single precision may hold."""
    if vol.dtype.kind != "f" or vol.dtype.itemsize < 4:
        return 0
    largest = vol.dtype.type(0)
    for plane in vol:
        extreme = max(plane.max(), -plane.min())
        if not np.isfinite(extreme):
            extreme = np.abs(plane).max(where=np.isfinite(plane), initial=0)
        largest = max(largest, extreme)
    return max(0, int(np.frexp(largest)[1]) - MAX_EXPONENT)


def stream_tissue_mask(
    read: ReadPlanes,
    shape: tuple[int, int, int],
    sections: Sequence[Sequence[int]],
    *,
    smoothing_sigma: float = 2.0,
    smoothing_sigma_z: float = 1.0,
    closing_radius: int = 3,
    z_closing_sections: int = 2,
    method: str = "otsu",
    min_size: int = 0,
    largest: int = 0,
    use_gpu: bool = False,
    max_bytes: int | None = None,
    workers: int | None = None,
    block_planes: int | None = None,
    itemsize: int = 8,
    screened: bool = False,
    on_section: Callable[[SectionMask], None] | None = None,
) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Compute the mask of `compute_tissue_mask` from planes that are read as they are needed.

    Parameters
    ----------
    read : callable
        ``read(z0, z1)`` gives planes (z1 - z0, Y, X) of any real dtype. Called from one thread at a time, not
        the caller's, up to two blocks ahead; in ascending order but for the sections that are read twice.
    shape : (int, int, int)
        Z, Y, X of the volume.
    sections : sequence of (z_start, z_stop)
        Planes of each section, without gap or overlap.
    smoothing_sigma, smoothing_sigma_z, closing_radius, z_closing_sections, method, min_size, largest, use_gpu, workers
        As in `compute_tissue_mask`.
    max_bytes : int, optional
        Memory to stay within (see `mask_memory`): a section whose smoothed planes do not fit is read twice, unless
        that would take more memory than keeping them.
    block_planes : int, optional
        Planes of a block; reads end at its multiples, so give (a multiple of) the image's chunk depth.
    itemsize : int
        Bytes of a voxel as read; counts towards `max_bytes`.
    screened : bool
        Leave out what shows nothing of the specimen, which `compute_tissue_mask` does not do: saturated voxels and
        constant fills (`linumpy.intensity.mask_faults`). Where none is found, no bit of the mask changes.
    on_section : callable, optional
        Called with a `SectionMask` as the last plane of each section is finished.

    Yields
    ------
    z_start : int
        First plane of the block.
    block : bool array (n, Y, X)
        The mask of its planes. Blocks come in Z order and cover the volume.

    Raises
    ------
    ValueError
        If a setting is out of its range, or a value so large that sums of two are infinite in single precision.
    """
    settings = MaskSettings(
        smoothing_sigma=smoothing_sigma,
        smoothing_sigma_z=smoothing_sigma_z,
        closing_radius=closing_radius,
        z_closing_sections=z_closing_sections,
        method=method,
        min_size=min_size,
        largest=largest,
        use_gpu=use_gpu,
        max_bytes=max_bytes,
        workers=workers,
        block_planes=block_planes,
        itemsize=itemsize,
        screened=screened,
    )
    bounds = section_bounds(shape[0], [tuple(pair) for pair in sections])
    return stream_mask(read, shape, bounds, settings, on_section)
