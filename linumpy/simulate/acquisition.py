"""Tissue, field and detector: how a simulated acquisition is put together. The package tells the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linumpy.intensity.sections import Sections, section_bounds
from linumpy.simulate.noise import FloatArray, SmoothNoise
from linumpy.simulate.physics import Physics, variant_physics

GREY, WHITE, NUCLEI, INCLUSION = 1, 2, 3, 4
CLASS_NAMES: Mapping[int, str] = MappingProxyType(
    {GREY: "grey matter", WHITE: "white matter", NUCLEI: "dark nuclei", INCLUSION: "inclusion or cell"}
)

DEFAULT_SHAPE = (160, 300, 340)
DEFAULT_VOXEL_SIZE_UM = (10.0, 20.0, 20.0)

# Normalised radius of the outline is 1; a ring of white matter parts the cortex from the deep grey matter.
_CORTEX_FROM, _DEEP_UNTIL = 0.72, 0.64


@dataclass(frozen=True)
class Acquisition:
    """A simulated acquisition and all that is known about it. Arrays are (Z, Y, X).

    Parameters
    ----------
    name : str
        Name of the variant.
    volume : ndarray
        The image, in the type that was asked for.
    truth : ndarray of float32
        What a perfect microscope would record: no bias, no speckle, no noise, in the unit of `volume`.
    log_bias_field : ndarray of float32
        The true field; ``truth * exp(log_bias_field)`` is the expectation of `volume`.
    labels : ndarray of uint8
        0 agarose, else a key of ``CLASS_NAMES``.
    sections : tuple of (int, int)
        First plane and one past the last plane of each section.
    voxel_size_mm : tuple of float
        (z, y, x).
    physics : Physics
        The settings.
    """

    name: str
    volume: NDArray[Any]
    truth: FloatArray
    log_bias_field: FloatArray
    labels: NDArray[np.uint8]
    sections: Sections
    voxel_size_mm: tuple[float, float, float]
    physics: Physics

    @property
    def tissue_mask(self) -> NDArray[np.bool_]:
        """True where there is tissue, inclusions and cells within it counted."""
        return self.labels > 0

    @property
    def bias_field(self) -> FloatArray:
        """The true field as a factor, ``exp(log_bias_field)``."""
        return np.exp(self.log_bias_field)


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
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"shape is {shape}; give three positive sizes (Z, Y, X)")
    bounds = section_bounds(shape[0], sections)
    voxel_mm = (voxel_size_um[0] / 1000.0, voxel_size_um[1] / 1000.0, voxel_size_um[2] / 1000.0)
    streams = np.random.default_rng(seed).spawn(5)

    labels, truth = _embed_tissue(shape, bounds, voxel_mm, settings, streams[0])
    _add_spheres(labels, truth, voxel_mm, settings, streams[1])
    log_bias_field = _log_bias_field(shape, bounds, voxel_mm, settings, streams[2])
    truth *= np.float32(settings.grey_level)
    volume = _record(truth, log_bias_field, settings, streams[3], streams[4])
    return Acquisition(variant, volume, truth, log_bias_field, labels, bounds, voxel_mm, settings)


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


def _log_bias_field(
    shape: tuple[int, int, int],
    bounds: Sections,
    voxel_mm: tuple[float, float, float],
    settings: Physics,
    rng: np.random.Generator,
) -> FloatArray:
    """Return the log bias field of the module's formula, float32 (Z, Y, X)."""
    field = np.empty(shape, np.float32)
    in_plane = (1, shape[1], shape[2])
    draws, common, own = rng.spawn(3)
    scale_mm = settings.illumination_scale_mm
    y = np.linspace(-1, 1, shape[1], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, shape[2], dtype=np.float32)[None, :]
    corner = (y**2 + x**2) / 2
    shading = settings.illumination * SmoothNoise(common, in_plane, voxel_mm, scale_mm).plane(0)
    shading -= settings.vignetting * corner
    focus_um = settings.focus_depth_um + settings.focus_curvature_um * corner

    for start, stop in bounds:
        log_gain = draws.normal(0, settings.gain_spread)
        attenuation_per_mm = settings.attenuation_per_mm * np.exp(draws.normal(0, settings.attenuation_spread))
        own_shading = settings.illumination_section * SmoothNoise(own, in_plane, voxel_mm, scale_mm).plane(0)
        for z in range(start, stop):
            depth_mm = (z - start + 0.5) * voxel_mm[0]
            dip = settings.cut_dip * np.exp(-1000 * depth_mm / settings.cut_dip_depth_um)
            of_depth = log_gain - attenuation_per_mm * depth_mm + np.log1p(-dip)
            gate = np.log1p(((1000 * depth_mm - focus_um) / settings.rayleigh_range_um) ** 2)
            field[z] = settings.bias_strength * (np.float32(of_depth) - gate + shading + own_shading)
    return field


def _record(
    truth: FloatArray,
    log_bias_field: FloatArray,
    settings: Physics,
    speckle: np.random.Generator,
    noise: np.random.Generator,
) -> NDArray[Any]:
    """Return the image that the detector gives of `truth` seen through the field."""
    level = np.float32(settings.grey_level)
    dtype = np.dtype(settings.dtype)
    integer = np.issubdtype(dtype, np.integer)
    ceiling = np.inf if settings.saturation is None else settings.saturation * settings.grey_level
    if integer:
        ceiling = min(ceiling, float(np.iinfo(dtype).max))
    volume = np.empty(truth.shape, dtype)
    for z in range(truth.shape[0]):
        plane = truth[z] * np.exp(log_bias_field[z])
        if settings.looks is not None:
            looks = np.float32(settings.looks)
            plane *= speckle.standard_gamma(looks, plane.shape, dtype=np.float32) / looks
        if settings.noise:
            plane += settings.noise * level * noise.standard_normal(plane.shape, dtype=np.float32)
        # Counts start at zero, but an exact zero would read as "outside": float images keep a tiny floor.
        np.clip(plane, 0.0 if integer else 1e-4 * level, ceiling, out=plane)
        volume[z] = np.rint(plane) if integer else plane
    return volume
