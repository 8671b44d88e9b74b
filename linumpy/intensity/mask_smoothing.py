"""The tissue mask's anisotropic Gaussian over a volume that streams past.

SciPy's ``gaussian_filter`` (mode 'reflect', truncated at 4 standard deviations) of the whole volume, plane
by plane: a ring holds the XY-smoothed planes that the kernel along Z spans, so that every plane is read once
and has its exact halo. The order of the axes differs from SciPy's (X, Y, Z here) and sums are single
precision: relative differences of 3e-7.

With `faults`, voxels that show nothing of the specimen (`linumpy.intensity.mask_faults`) are left out: they are NaN in
the ring, weigh nothing, and stay NaN when smoothed.

Arrays are (Z, Y, X); standard deviations are in voxels. Memory: a ring of step + 2 * radius planes of
float32 and two blocks as read (one is read ahead while the other is smoothed).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, wait
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linumpy import gpu
from linumpy.intensity.mask_faults import FaultCounts, ceiling_of, plane_faults
from linumpy.intensity.mask_threshold import KEY_SHIFT, Tally

__all__ = ["CpuSmoother", "GpuSmoother", "PlaneReader", "gaussian_radius", "gaussian_weights", "load_cupy", "too_large"]

logger = logging.getLogger(__name__)

TRUNCATE = 4.0
"""Standard deviations at which the kernel ends (SciPy's default)."""

JOB_VOXELS = 1 << 16
"""Of small planes that a thread is handed together."""

ReadPlanes = Callable[[int, int], NDArray[Any]]
Float32 = NDArray[np.float32]


def gaussian_radius(sigma: float) -> int:
    """Return the voxels that the kernel reaches on either side."""
    return int(TRUNCATE * sigma + 0.5)


def gaussian_weights(sigma: float) -> Float32:
    """Return the centre and one side of the normalised kernel."""
    if sigma == 0:
        return np.ones(1, np.float32)
    side = np.exp(-0.5 * (np.arange(gaussian_radius(sigma) + 1) / sigma) ** 2)
    weights: Float32 = (side / (side[0] + 2 * side[1:].sum())).astype(np.float32)
    return weights


def reflect(z: int, n_planes: int) -> int:
    """Return the plane that stands for `z` beyond a face of the volume."""
    z %= 2 * n_planes
    return z if z < n_planes else 2 * n_planes - 1 - z


class PlaneReader:
    """Planes one after the other out of blocks that are read ahead.

    Blocks end at multiples of `block_planes`, so that no chunk row is decoded twice where that is a multiple
    of the image's chunk depth.
    """

    def __init__(self, read: ReadPlanes, z_start: int, z_stop: int, block_planes: int, thread: Executor) -> None:
        self._read, self._block_planes, self._z_stop = read, block_planes, z_stop
        self._thread = thread
        self._next = z_start
        self._ahead: Future[NDArray[Any]] | None = None
        self._request()
        self._block: NDArray[Any] = np.empty((0, 0, 0))
        self._block_start = z_start

    def _request(self) -> None:
        if self._next < self._z_stop:
            stop = min(self._z_stop, (self._next // self._block_planes + 1) * self._block_planes)
            self._ahead = self._thread.submit(self._read, self._next, stop)
            self._next = stop
        else:
            self._ahead = None

    def take(self, z: int, limit: int) -> NDArray[Any]:
        """Return plane `z` and those after it in its block, up to `limit`; `z` never goes back."""
        while z >= self._block_start + len(self._block):
            if self._ahead is None:
                raise IndexError(f"plane {z} lies beyond the last requested plane")
            self._block_start += len(self._block)
            self._block = self._ahead.result()
            self._request()
        return self._block[z - self._block_start : limit - self._block_start]

    def close(self) -> None:
        """Drop the block that is read ahead."""
        if self._ahead is not None and not self._ahead.cancel():
            wait([self._ahead])


class CpuSmoother:
    """Smoothed planes `z_start` to `z_stop` of a volume, in order.

    Parameters
    ----------
    read : callable
        ``read(z0, z1)`` gives planes (z1 - z0, Y, X) of any real dtype; called in ascending order from one
        thread.
    shape : (int, int, int)
        Z, Y, X of the volume.
    z_start, z_stop : int
        Planes wanted.
    sigma_xy, sigma_z : float
        Standard deviations in voxels, 0 for none.
    block_planes : int
        Planes that are read at once.
    step : int
        Most planes asked of `smooth` at once.
    executor, read_thread : Executor
        Threads to smooth in, and the one thread that all smoothers of a volume read in.
    faults : dict of int to FaultCounts, optional
        Gets what each plane has of voxels that are left out; without it none are.
    """

    def __init__(
        self,
        read: ReadPlanes,
        shape: tuple[int, int, int],
        z_start: int,
        z_stop: int,
        *,
        sigma_xy: float,
        sigma_z: float,
        block_planes: int,
        step: int,
        executor: Executor,
        read_thread: Executor,
        faults: dict[int, FaultCounts] | None = None,
    ) -> None:
        self.n_planes = shape[0]
        self._faults = faults
        self.radius_z = gaussian_radius(sigma_z)
        self.sigma_xy, self.sigma_z = sigma_xy, sigma_z
        self.executor = executor
        self._weights_xy, self._weights_z = gaussian_weights(sigma_xy), gaussian_weights(sigma_z)
        self._loaded = max(0, z_start - self.radius_z)
        self._last = min(self.n_planes, z_stop + self.radius_z)
        self._reader = PlaneReader(read, self._loaded, self._last, block_planes, read_thread)
        self.ring = np.empty((min(step + 2 * self.radius_z, self.n_planes), *shape[1:]), np.float32)
        self._is_partial = np.zeros(len(self.ring), bool)

    def smooth(self, z_start: int, out: Float32, tallies: Sequence[Tally] = ()) -> None:
        """Write smoothed planes from `z_start` on into `out`; with tallies (one a thread), count them."""
        self._load(min(z_start + len(out) + self.radius_z, self._last))
        self._finish(z_start, out, tallies)

    def close(self) -> None:
        """Stop reading ahead."""
        self._reader.close()

    def _load(self, z_stop: int) -> None:
        """Put the planes up to `z_stop` into the ring."""
        while self._loaded < z_stop:
            planes = self._reader.take(self._loaded, z_stop)
            slots = [(self._loaded + i) % len(self.ring) for i in range(len(planes))]
            _wait(
                self.executor.submit(self._put_all, planes[job], self._loaded + job.start, slots[job])
                for job in self._jobs(len(planes))
            )
            self._loaded += len(planes)

    def _jobs(self, n_planes: int) -> list[slice]:
        """Share planes out: one a job, but small ones together."""
        at_once = max(1, JOB_VOXELS // self.ring[0].size)
        return [slice(first, min(first + at_once, n_planes)) for first in range(0, n_planes, at_once)]

    def _put_all(self, planes: NDArray[Any], z_start: int, slots: Sequence[int]) -> None:
        for z, (plane, slot) in enumerate(zip(planes, slots, strict=True), start=z_start):
            self._put(plane, z, slot)

    def _put(self, plane: NDArray[Any], z: int, slot: int) -> None:
        from linumpy.intensity.mask_kernels import smooth_plane

        values, left_out = self._sound(plane, z, slot)
        smooth_plane(values, self._weights_xy, self.ring[slot])
        if left_out is not None:
            weights = np.empty_like(values)
            smooth_plane((~left_out).astype(np.float32), self._weights_xy, weights)
            with np.errstate(invalid="ignore"):
                self.ring[slot] /= weights
            self.ring[slot][left_out] = np.nan

    def _sound(self, plane: NDArray[Any], z: int, slot: int) -> tuple[Float32, NDArray[np.bool_] | None]:
        """Return a plane in single precision, NaN where a voxel is left out, and where that is; None for nowhere."""
        values = _as_float32(plane)
        self._is_partial[slot] = False
        if self._faults is None:
            return values, None
        found = plane_faults(values, ceiling_of(plane.dtype))
        if found is None:
            return values, None
        self._is_partial[slot] = True
        self._faults[z] = found.counts
        return np.where(found.voxels, np.float32(np.nan), values), found.voxels

    def _finish(self, z_start: int, out: Float32, tallies: Sequence[Tally]) -> None:
        if not tallies:
            planes = range(len(out))
            _wait(self.executor.submit(self._smooth_z, z_start, out, planes[job], None) for job in self._jobs(len(out)))
            return
        groups = [(range(k, len(out), len(tallies)), tally) for k, tally in enumerate(tallies)]
        _wait(self.executor.submit(self._smooth_z, z_start, out, *group) for group in groups)

    def _smooth_z(self, z_start: int, out: Float32, planes: Sequence[int], tally: Tally | None) -> None:
        for i in planes:
            window = range(z_start + i - self.radius_z, z_start + i + self.radius_z + 1)
            slots = np.array([reflect(z, self.n_planes) % len(self.ring) for z in window])
            if self._is_partial[slots].any():
                from linumpy.intensity.mask_kernels import smooth_z_partial

                smooth_z_partial(self.ring, slots, self._weights_z, out[i])
                if tally is not None:
                    _count(np.nan_to_num(out[i], nan=0.0), tally)
            else:
                _smooth_and_count(self.ring, slots, self._weights_z, out[i], tally)


class GpuSmoother(CpuSmoother):
    """The same on a CUDA device: CuPy's ``gaussian_filter`` on blocks of planes with their halo.

    The ring holds planes as read; counting stays on the CPU. Not bit for bit the CPU's values.
    """

    def __init__(self, cupy: ModuleType, ndimage: ModuleType, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._cupy, self._ndimage = cupy, ndimage

    def _put(self, plane: NDArray[Any], z: int, slot: int) -> None:
        values, left_out = self._sound(plane, z, slot)
        usable = np.isfinite(values)
        self.ring[slot] = np.where(usable if left_out is None else usable | left_out, values, np.float32(0))

    def _finish(self, z_start: int, out: Float32, tallies: Sequence[Tally]) -> None:
        first = max(0, z_start - self.radius_z)
        stop = min(self.n_planes, z_start + len(out) + self.radius_z)
        slots = [z % len(self.ring) for z in range(first, stop)]
        wanted = slice(z_start - first, z_start - first + len(out))
        block = self.ring[slots]
        if self._is_partial[slots].any():
            left_out = np.isnan(block)
            weights = self._gaussian(~left_out)[wanted]
            with np.errstate(invalid="ignore"):
                out[...] = self._gaussian(np.where(left_out, 0, block))[wanted] / weights
            out[left_out[wanted]] = np.nan
        else:
            out[...] = self._gaussian(block)[wanted]
        for k, tally in enumerate(tallies):
            for i in range(k, len(out), len(tallies)):
                _count(np.nan_to_num(out[i], nan=0.0), tally)

    def _gaussian(self, block: NDArray[Any]) -> Float32:
        sigma = (self.sigma_z, self.sigma_xy, self.sigma_xy)
        values = self._cupy.asarray(block.astype(np.float32, copy=False))
        smoothed = self._ndimage.gaussian_filter(values, sigma, mode="reflect", truncate=TRUNCATE)
        result: Float32 = self._cupy.asnumpy(smoothed)
        return result


def load_cupy() -> tuple[ModuleType, ModuleType] | None:
    """Return ``cupy`` and ``cupyx.scipy.ndimage``; without a CUDA device None (a debug log line says so)."""
    if not gpu.GPU_AVAILABLE:
        logger.debug("the mask is smoothed on the CPU: no CUDA device that CuPy can use")
        return None
    return import_module("cupy"), import_module("cupyx.scipy.ndimage")


def _as_float32(plane: NDArray[Any]) -> Float32:
    with np.errstate(over="ignore"):
        values = np.require(plane, np.float32, ["C", "A", "W"])  # a copy where the kernels would not take it
    if plane.dtype.kind == "f" and plane.dtype.itemsize > 4:
        infinite = np.isinf(values)
        if infinite.any() and np.isfinite(plane[infinite]).any():
            raise ValueError(too_large("a plane"))
    return values


def too_large(where: str) -> str:
    """Return the message on values that the mask's single precision cannot hold."""
    return f"{where} holds finite values beyond 1.7e38, too large for the mask's single precision; divide the image"


def _smooth_and_count(ring: Float32, slots: NDArray[Any], weights: Float32, out: Float32, tally: Tally | None) -> None:
    from linumpy.intensity.mask_kernels import smooth_z

    counted = (np.zeros(0, np.int64), np.zeros(2, np.float32)) if tally is None else (tally.counts, tally.extremes)
    smooth_z(ring, slots, weights, out, *counted, KEY_SHIFT)


def _count(plane: Float32, tally: Tally) -> None:
    """Count a plane that is smoothed already."""
    _smooth_and_count(plane[None], np.zeros(1, np.int64), np.ones(1, np.float32), np.empty_like(plane), tally)


def _wait(futures: Any) -> None:
    """Wait for all, in order; the first error is raised."""
    for future in list(futures):
        future.result()
