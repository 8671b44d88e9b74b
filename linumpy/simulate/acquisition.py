"""Field and detector: how an even volume is imaged section by section. The package tells the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from linumpy.intensity.sections import Sections, section_bounds
from linumpy.simulate.even import EvenVolume
from linumpy.simulate.noise import FloatArray, SmoothNoise
from linumpy.simulate.physics import Imaging, changed

GREY, WHITE, NUCLEI, INCLUSION = 1, 2, 3, 4
CLASS_NAMES: Mapping[int, str] = MappingProxyType(
    {GREY: "grey matter", WHITE: "white matter", NUCLEI: "dark nuclei", INCLUSION: "inclusion or cell"}
)


@dataclass(frozen=True)
class Acquisition:
    """A simulated acquisition and all that is known about it. Arrays are (Z, Y, X).

    Parameters
    ----------
    name : str
        Name of the variant or case.
    volume : ndarray
        The image, in the type that was asked for.
    truth : ndarray of float32
        What a perfect microscope would record: no bias, no speckle, no noise, in the unit of `volume`.
    log_bias_field : ndarray of float32
        The true field; ``truth * exp(log_bias_field)`` is the expectation of `volume`, less the camera's offset.
    labels : ndarray of uint8
        0 agarose, else a key of ``CLASS_NAMES``.
    sections : tuple of (int, int)
        First plane and one past the last plane of each section.
    voxel_size_mm : tuple of float
        (z, y, x).
    physics : Imaging
        The settings.
    """

    name: str
    volume: NDArray[Any]
    truth: FloatArray
    log_bias_field: FloatArray
    labels: NDArray[np.uint8]
    sections: Sections
    voxel_size_mm: tuple[float, float, float]
    physics: Imaging

    @property
    def tissue_mask(self) -> NDArray[np.bool_]:
        """True where there is tissue, inclusions and cells within it counted."""
        return self.labels > 0

    @property
    def bias_field(self) -> FloatArray:
        """The true field as a factor, ``exp(log_bias_field)``."""
        return np.exp(self.log_bias_field)


class Streams(NamedTuple):
    """One source of random numbers for each ingredient, so that a change of one leaves the others as they are."""

    tissue: np.random.Generator
    spheres: np.random.Generator
    field: np.random.Generator
    speckle: np.random.Generator
    noise: np.random.Generator


def random_streams(seed: int) -> Streams:
    """Return the sources of all random draws of one simulation."""
    return Streams(*np.random.default_rng(seed).spawn(len(Streams._fields)))


def image_volume(
    even: EvenVolume,
    *,
    sections: int | Sequence[tuple[int, int]],
    seed: int = 0,
    name: str = "imaged",
    **imaging: Any,
) -> Acquisition:
    """Image an even volume section by section, embedded in agarose.

    Parameters
    ----------
    even : EvenVolume
        What is imaged: an organ (`organ`), or a volume from a file (`open_even_volume`).
    sections : int or sequence of (int, int)
        How many sections of (nearly) equal depth, or each section's first plane and one past its last.
    seed : int
        Every random draw follows from it.
    name : str
        Name of the acquisition.
    **imaging
        Any field of :class:`Imaging`.

    Returns
    -------
    Acquisition
        Image, even volume, true field, tissue, sections.

    Raises
    ------
    ValueError
        For an unknown setting, or sections that do not cover the planes.

    Examples
    --------
    >>> from linumpy.simulate import organ
    >>> brain = organ((16, 40, 44), (50.0, 100.0, 100.0))
    >>> acquisition = image_volume(brain, sections=4, gain_spread=0.12)
    >>> acquisition.sections, acquisition.volume.dtype
    (((0, 4), (4, 8), (8, 12), (12, 16)), dtype('float32'))
    """
    settings = changed(Imaging(), imaging)
    bounds = section_bounds(len(even.reflectivity), sections)
    streams = random_streams(seed)
    reflectivity = even.embedded(settings, streams.tissue)
    return image_block(name, reflectivity, even.labels.copy(), bounds, even.voxel_size_mm, settings, streams)


def checked_shape(shape: tuple[int, ...]) -> None:
    """Raise a ValueError unless there are planes, rows and columns."""
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"shape is {shape}; give three positive sizes (Z, Y, X)")


def image_block(
    name: str,
    reflectivity: FloatArray,
    labels: NDArray[np.uint8],
    bounds: Sections,
    voxel_mm: tuple[float, float, float],
    settings: Imaging,
    streams: Streams,
) -> Acquisition:
    """Image a block of embedded tissue; `reflectivity` is taken over and scaled in place."""
    log_bias_field = _log_bias_field(reflectivity, bounds, voxel_mm, settings, streams.field)
    reflectivity *= np.float32(settings.grey_level)
    volume = record(reflectivity, log_bias_field, settings, streams.speckle, streams.noise)
    return Acquisition(name, volume, reflectivity, log_bias_field, labels, bounds, voxel_mm, settings)


def _log_bias_field(
    reflectivity: FloatArray,
    bounds: Sections,
    voxel_mm: tuple[float, float, float],
    settings: Imaging,
    rng: np.random.Generator,
) -> FloatArray:
    """Return the log bias field of the module's formula, float32 (Z, Y, X)."""
    shape = reflectivity.shape
    field = np.empty(shape, np.float32)
    in_plane = (1, shape[1], shape[2])
    draws, common, own = rng.spawn(3)
    by_tissue = settings.attenuation_by_tissue
    scale_mm = settings.illumination_scale_mm
    y = np.linspace(-1, 1, shape[1], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, shape[2], dtype=np.float32)[None, :]
    corner = (y**2 + x**2) / 2
    shading = settings.illumination * SmoothNoise(common, in_plane, voxel_mm, scale_mm).plane(0)
    tile = corner if settings.tile_mm is None else _tile_corner(shape, voxel_mm, settings.tile_mm)
    shading -= settings.vignetting * tile
    focus_um = settings.focus_depth_um + settings.focus_curvature_um * corner
    if settings.focus_tilt_um:
        focus_um += settings.focus_tilt_um * (y + x + 2) / 4

    for start, stop in bounds:
        log_gain = draws.normal(0, settings.gain_spread)
        attenuation_per_mm = settings.attenuation_per_mm * np.exp(draws.normal(0, settings.attenuation_spread))
        own_shading = settings.illumination_section * SmoothNoise(own, in_plane, voxel_mm, scale_mm).plane(0)
        # What follows the brightness above is a depth of its own, in millimetres of grey matter.
        grey_mm = np.zeros(shape[1:], np.float32)
        for z in range(start, stop):
            depth_mm = (z - start + 0.5) * voxel_mm[0]
            dip = settings.cut_dip * np.exp(-1000 * depth_mm / settings.cut_dip_depth_um)
            of_depth = log_gain - (1 - by_tissue) * attenuation_per_mm * depth_mm + np.log1p(-dip)
            gate = np.log1p(((1000 * depth_mm - focus_um) / settings.rayleigh_range_um) ** 2)
            field[z] = settings.bias_strength * (np.float32(of_depth) - gate + shading + own_shading)
            if by_tissue:
                half = np.float32(0.5 * voxel_mm[0]) * reflectivity[z]
                grey_mm += half
                field[z] -= np.float32(settings.bias_strength * by_tissue * attenuation_per_mm) * grey_mm
                grey_mm += half
    return field


def _tile_corner(shape: tuple[int, ...], voxel_mm: tuple[float, float, float], tile_mm: float) -> FloatArray:
    """Return the squared distance from the middle of a voxel's tile, 1 at the tile's corners; float32 (Y, X)."""
    y, x = (
        (2 * np.mod((np.arange(n) + 0.5) * size / tile_mm, 1) - 1).astype(np.float32)
        for n, size in zip(shape[1:], voxel_mm[1:], strict=True)
    )
    corner: FloatArray = (y[:, None] ** 2 + x[None, :] ** 2) / 2
    return corner


def ceiling(settings: Imaging) -> float:
    """Return the largest intensity that the detector and the type can give."""
    highest = np.inf if settings.saturation is None else settings.saturation * settings.grey_level
    if np.issubdtype(np.dtype(settings.dtype), np.integer):
        limit = np.iinfo(np.dtype(settings.dtype)).max
        nearest = np.float32(limit)  # the image is computed in single precision, which rounds limits of 32 bits up
        highest = min(highest, float(nearest if int(nearest) <= limit else np.nextafter(nearest, np.float32(0))))
    return highest


def record(
    truth: FloatArray,
    log_bias_field: FloatArray,
    settings: Imaging,
    speckle: np.random.Generator,
    noise: np.random.Generator,
) -> NDArray[Any]:
    """Return the image that the detector gives of `truth` seen through the field."""
    level = np.float32(settings.grey_level)
    dtype = np.dtype(settings.dtype)
    integer = np.issubdtype(dtype, np.integer)
    highest = ceiling(settings)
    volume = np.empty(truth.shape, dtype)
    shots = noise.spawn(1)[0]
    for z in range(truth.shape[0]):
        plane = truth[z] * np.exp(log_bias_field[z])
        if settings.looks is not None:
            looks = np.float32(settings.looks)
            plane *= speckle.standard_gamma(looks, plane.shape, dtype=np.float32) / looks
        if settings.photons is not None:
            per_photon = level / np.float32(settings.photons)
            plane = shots.poisson(plane / per_photon).astype(np.float32) * per_photon
        if settings.camera_offset:
            plane += settings.camera_offset * level
        if settings.noise:
            plane += settings.noise * level * noise.standard_normal(plane.shape, dtype=np.float32)
        # Counts start at zero, but an exact zero would read as "outside": float images keep a tiny floor.
        np.clip(plane, 0.0 if integer else 1e-4 * level, highest, out=plane)
        volume[z] = np.rint(plane) if integer else plane
    return volume
