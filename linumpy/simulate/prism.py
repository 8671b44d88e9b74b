"""The prism phantom: the same kind of anatomy in every plane, without ends. The package tells the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linumpy.intensity.sections import Sections, section_bounds
from linumpy.simulate.acquisition import (
    GREY,
    INCLUSION,
    NUCLEI,
    WHITE,
    Acquisition,
    checked_shape,
    image_block,
    random_streams,
)
from linumpy.simulate.noise import FloatArray, SmoothNoise
from linumpy.simulate.physics import Physics, variant_physics

DEFAULT_SHAPE = (160, 300, 340)
DEFAULT_VOXEL_SIZE_UM = (10.0, 20.0, 20.0)

# Normalised radius of the outline is 1; a ring of white matter parts the cortex from the deep grey matter.
_CORTEX_FROM, _DEEP_UNTIL = 0.72, 0.64


def simulate_acquisition(
    shape: tuple[int, int, int] = DEFAULT_SHAPE,
    *,
    sections: int | Sequence[tuple[int, int]] = 8,
    voxel_size_um: tuple[float, float, float] = DEFAULT_VOXEL_SIZE_UM,
    variant: str = "serial_oct",
    seed: int = 0,
    **physics: Any,
) -> Acquisition:
    """Simulate one serial acquisition.

    Parameters
    ----------
    shape : tuple of int
        Planes, rows and columns (Z, Y, X).
    sections : int or sequence of (int, int)
        How many sections of (nearly) equal depth, or each section's first plane and one past its last.
    voxel_size_um : tuple of float
        Voxel size (z, y, x) in micrometres.
    variant : str
        A key of ``VARIANTS``.
    seed : int
        Every random draw follows from it. Each ingredient (anatomy, illumination, speckle, ...) has its own
        stream, so changing one leaves the others as they are.
    **physics
        Any field of :class:`Physics`, over the variant's own value.

    Returns
    -------
    Acquisition
        Image, truth, true field, tissue classes.

    Raises
    ------
    ValueError
        For an unknown variant or setting, sections that do not cover the planes, or an empty volume.

    Examples
    --------
    >>> acquisition = simulate_acquisition((12, 40, 48), sections=3, seed=1)
    >>> acquisition.volume.shape, acquisition.sections
    ((12, 40, 48), ((0, 4), (4, 8), (8, 12)))
    """
    settings = variant_physics(variant, physics)
    checked_shape(shape)
    bounds = section_bounds(shape[0], sections)
    voxel_mm = (voxel_size_um[0] / 1000.0, voxel_size_um[1] / 1000.0, voxel_size_um[2] / 1000.0)
    streams = random_streams(seed)

    labels, reflectivity = _embed_tissue(shape, bounds, voxel_mm, settings, streams.tissue)
    _add_spheres(labels, reflectivity, voxel_mm, settings, streams.spheres)
    return image_block(variant, reflectivity, labels, bounds, voxel_mm, settings, streams)


def _embed_tissue(
    shape: tuple[int, int, int],
    bounds: Sections,
    voxel_mm: tuple[float, float, float],
    settings: Physics,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], FloatArray]:
    """Return the tissue classes and the reflectivity of the block."""
    labels = np.zeros(shape, np.uint8)
    reflectivity = np.empty(shape, np.float32)
    by_class = np.array([settings.agarose, *settings.reflectivity], np.float32)
    extent_mm = [n * size for n, size in zip(shape, voxel_mm, strict=True)]
    outline, bundles, nuclei, texture = (
        SmoothNoise(stream, shape, voxel_mm, scale)
        for stream, scale in zip(
            rng.spawn(4),
            (
                max(extent_mm[1:]) / 5,
                settings.anatomy_scale_mm,
                1.4 * settings.anatomy_scale_mm,
                settings.texture_scale_um / 1000,
            ),
            strict=True,
        )
    )
    y_mm = (np.arange(shape[1], dtype=np.float32)[:, None] + 0.5) * voxel_mm[1]
    x_mm = (np.arange(shape[2], dtype=np.float32)[None, :] + 0.5) * voxel_mm[2]
    empty = {range(len(bounds))[index] for index in settings.empty_sections if -len(bounds) <= index < len(bounds)}

    for section, (start, stop) in enumerate(bounds):
        for z in range(start, stop):
            if section in empty:
                reflectivity[z] = settings.agarose
                continue
            shift_mm = np.tan(np.radians(settings.tilt_deg)) * ((z + 0.5) * voxel_mm[0] - extent_mm[0] / 2)
            v = (y_mm - extent_mm[1] * (0.5 + settings.offset) - 0.4 * shift_mm) / (0.41 * extent_mm[1])
            u = (x_mm - extent_mm[2] * (0.5 + settings.offset) - shift_mm) / (0.41 * extent_mm[2])
            radius = np.hypot(u, v) / settings.footprint * (1 + 0.06 * outline.plane(z))

            # From about 5 % to 40 % of a normal variate lie above these thresholds; 18 % without drift.
            threshold = 0.92 + settings.class_drift * 0.7 * (1 - 2 * (z + 0.5) / shape[0])
            deep = radius < _DEEP_UNTIL
            white = ((radius < _CORTEX_FROM) & ~deep) | (deep & (bundles.plane(z) > threshold))
            plane = labels[z]
            plane[radius < 1] = GREY
            plane[deep & (nuclei.plane(z) > 1.0)] = NUCLEI
            plane[white] = WHITE

            layers = np.sin((2 * np.pi / 0.09) * radius) * (radius > _CORTEX_FROM)
            detail = np.exp(settings.texture * (texture.plane(z) + layers))
            reflectivity[z] = np.where(plane > 0, by_class[plane] * detail, by_class[0])
    return labels, reflectivity


def _add_spheres(
    labels: NDArray[np.uint8],
    reflectivity: FloatArray,
    voxel_mm: tuple[float, float, float],
    settings: Physics,
    rng: np.random.Generator,
) -> None:
    """Place inclusions (anywhere) and cells (in tissue) as bright spheres, in place."""
    kinds = (
        (settings.inclusions_per_mm3, settings.inclusion_diameter_um, settings.inclusion_brightness, False),
        (settings.cells_per_mm3, settings.cell_diameter_um, settings.cell_brightness, True),
    )
    shape = np.array(labels.shape)
    for stream, (per_mm3, diameter_um, brightness, in_tissue) in zip(rng.spawn(2), kinds, strict=True):
        count = stream.poisson(per_mm3 * np.prod(voxel_mm) * labels.size)
        centres = stream.integers(0, shape, size=(count, 3))
        factors = stream.uniform(0.7, 1.3, size=count)
        if in_tissue:
            inside = labels[tuple(centres.T)] > 0
            centres, factors = centres[inside], factors[inside]
        reach = [int(diameter_um / 2000 / size) for size in voxel_mm]
        grid = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1).reshape(-1, 3)
        ball = grid[((grid * voxel_mm) ** 2).sum(axis=1) <= (diameter_um / 2000) ** 2]
        for centre, factor in zip(centres, factors, strict=True):
            voxels = centre + ball
            at = tuple(voxels[((voxels >= 0) & (voxels < shape)).all(axis=1)].T)
            reflectivity[at] = brightness * factor
            labels[at] = np.where(labels[at] > 0, INCLUSION, 0)
