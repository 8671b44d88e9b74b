"""Even volumes: what a perfect microscope would record of tissue, before it is embedded and imaged.

Axes are (Z, Y, X).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linumpy.io.ome_zarr import open_image
from linumpy.simulate.noise import FloatArray, SmoothNoise
from linumpy.simulate.physics import Imaging

TISSUE_FROM = 0.4
"""Voxels of a measured volume from this brightness on are tissue; below, they are part tissue, part embedding."""


@dataclass(frozen=True, eq=False)
class EvenVolume:
    """Tissue without bias.

    Parameters
    ----------
    reflectivity : ndarray of float32
        Brightness; 1 is grey matter or the tissue's median, 0 where there is none.
    labels : ndarray of uint8
        0 outside, else the tissue's class.
    voxel_size_um : tuple of float
        (z, y, x).
    """

    reflectivity: FloatArray
    labels: NDArray[np.uint8]
    voxel_size_um: tuple[float, float, float]

    @property
    def voxel_size_mm(self) -> tuple[float, float, float]:
        """Voxel size (z, y, x) in millimetres."""
        z, y, x = self.voxel_size_um
        return z / 1000, y / 1000, x / 1000

    def embedded(self, settings: Imaging, rng: np.random.Generator) -> FloatArray:
        """Return the brightness with agarose around the tissue and in its holes.

        A voxel darker than `TISSUE_FROM` is partly tissue, as at a rim; agarose fills the rest of it.
        """
        embedded = np.empty_like(self.reflectivity)
        texture = SmoothNoise(rng, embedded.shape, self.voxel_size_mm, settings.texture_scale_um / 1000)
        for z, plane in enumerate(self.reflectivity):
            agarose = np.float32(settings.agarose)
            if settings.agarose_texture:
                agarose = agarose * np.exp(np.float32(settings.agarose_texture) * texture.plane(z))
            embedded[z] = plane + np.maximum(1 - plane / np.float32(TISSUE_FROM), 0) * agarose
        return embedded

    def resampled(self, n_planes: int) -> EvenVolume:
        """Return the same anatomy in another number of planes: as deep as before, interpolated between planes."""
        before = len(self.reflectivity)
        at = np.clip((np.arange(n_planes) + 0.5) * before / n_planes - 0.5, 0, before - 1)
        below = np.minimum(at.astype(np.intp), max(before - 2, 0))
        share = (at - below).astype(np.float32)[:, None, None]
        above = np.minimum(below + 1, before - 1)
        reflectivity = (1 - share) * self.reflectivity[below] + share * self.reflectivity[above]
        z_um, y_um, x_um = self.voxel_size_um
        return EvenVolume(
            reflectivity, self.labels[np.rint(at).astype(np.intp)], (z_um * before / n_planes, y_um, x_um)
        )

    def squeezed(self, z_um: float) -> EvenVolume:
        """Return the same planes as if they were `z_um` apart."""
        return EvenVolume(self.reflectivity, self.labels, (z_um, *self.voxel_size_um[1:]))


def even_volume(image: NDArray[Any], voxel_size_um: tuple[float, float, float]) -> EvenVolume:
    """Take an image without bias for tissue: its median brightness, where there is any, becomes 1.

    Parameters
    ----------
    image : ndarray, shape (Z, Y, X)
        Brightness, 0 outside the tissue.
    voxel_size_um : tuple of float
        (z, y, x).

    Returns
    -------
    EvenVolume

    Raises
    ------
    ValueError
        If nothing is brighter than 0.
    """
    if image.ndim != 3 or not (image > 0).any():
        raise ValueError(f"an even volume has planes, rows, columns and tissue above 0; this has shape {image.shape}")
    median = np.median(image[image > 0])
    median = np.median(image[image >= TISSUE_FROM * median])
    reflectivity = (image / median).astype(np.float32)
    return EvenVolume(reflectivity, (reflectivity >= TISSUE_FROM).astype(np.uint8), voxel_size_um)


def open_even_volume(path: Path | str) -> EvenVolume:
    """Read an OME-Zarr image without bias, with 0 outside the tissue."""
    image = open_image(path)
    z, y, x = (round(1000 * size, 6) for size in image.voxel_size_mm)
    return even_volume(image.read(0, image.shape[0]), (z, y, x))
