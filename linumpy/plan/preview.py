"""A preview: the whole chain on a small stand-in of an acquisition, so that settings can be judged before the full run.

The stand-in is the finest level of the image that is small enough and still has a few planes of every section; where no
level is, every k-th row and column of the coarsest that may be used. What is given in voxels is brought to its voxels;
lengths in millimetres stay.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from linumpy.intensity.sections import Sections
from linumpy.io.ome_zarr import Image
from linumpy.io.sampled import sampled

__all__ = ["PREVIEW_VOXELS", "StandIn", "full_image", "in_voxels_of", "stand_in"]

Triple = tuple[int, int, int]
Factors = tuple[float, float, float]

PREVIEW_VOXELS = 24 * 2**20
"""A stand-in has no more voxels: mask, fits and correction of so many take a few seconds."""
SECTION_PLANES = 2
"""Fewest planes of a section in the stand-in, of sections that have as many."""


@dataclass(frozen=True)
class StandIn:
    """What the tasks work on: the full image, or something smaller in its place.

    Parameters
    ----------
    image : Image
        The volume.
    level : int
        Level it is taken from.
    stride : (int, int, int)
        Voxels of that level per sample (z, y, x).
    sections : sequence of (int, int)
        Planes of each section in it.
    factors : tuple of float
        Voxels of the full image per voxel (z, y, x).
    parameters : mapping
        Resolved parameters, those in voxels brought to its voxels.
    warnings : tuple of dict
        For the report: what this is, and that it is no result.
    """

    image: Image
    level: int
    stride: Triple
    sections: Sections
    factors: Factors
    parameters: Mapping[str, Any]
    warnings: tuple[dict[str, Any], ...]


def full_image(image: Image, sections: Sections, parameters: Mapping[str, Any]) -> StandIn:
    """Return the image as what the tasks work on."""
    return StandIn(image, 0, (1, 1, 1), sections, (1.0, 1.0, 1.0), parameters, ())


def stand_in(image: Image, sections: Sections, parameters: Mapping[str, Any]) -> StandIn:
    """Choose the small stand-in of an acquisition.

    Parameters
    ----------
    image : Image
        The full image with its levels.
    sections : sequence of (int, int)
        Planes of each section.
    parameters : mapping
        Resolved parameters.

    Returns
    -------
    StandIn
    """
    thinnest = min(z_stop - z_start for z_start, z_stop in sections)
    fewest = min(thinnest, SECTION_PLANES)
    levels = (image, *image.levels)
    usable = [
        index
        for index, level in enumerate(levels)
        if index == 0 or thinnest * level.shape[0] >= fewest * image.shape[0]
    ]
    small = [index for index in usable if math.prod(levels[index].shape) <= PREVIEW_VOXELS]
    index = small[0] if small else usable[-1]
    apart = 1 if small else math.ceil(math.sqrt(math.prod(levels[index].shape) / PREVIEW_VOXELS))
    small_image = sampled(image, index, (1, apart, apart))
    z, y, x = (fine / coarse for fine, coarse in zip(image.shape, small_image.shape, strict=True))
    cuts = [round(z_start / z) for z_start, _ in sections] + [small_image.shape[0]]
    told = " x ".join(f"1/{factor:.3g}" for factor in (z, y, x))
    return StandIn(
        image=small_image,
        level=index,
        stride=(1, apart, apart),
        sections=tuple(itertools.pairwise(cuts)),
        factors=(z, y, x),
        parameters=in_voxels_of(parameters, (z, y, x)) | {"slab_planes": None},
        warnings=(
            {
                "code": "preview",
                "message": f"a preview of {'x'.join(map(str, small_image.shape))} voxels, {told} (z, y, x) of the "
                f"image: to judge settings by, not a result; run without --preview for that",
                "section": None,
            },
        ),
    )


def in_voxels_of(parameters: Mapping[str, Any], factors: Factors) -> dict[str, Any]:
    """Return the parameters with those in voxels divided by what one voxel stands for, (z, y, x)."""
    along_z, across = factors[0], math.sqrt(factors[1] * factors[2])
    changed: dict[str, Any] = {
        "smoothing_sigma": parameters["smoothing_sigma"] / across,
        "smoothing_sigma_z": parameters["smoothing_sigma_z"] / along_z,
        "closing_radius": round(parameters["closing_radius"] / across),
        "z_closing_sections": round(parameters["z_closing_sections"] / along_z),
        "mask_min_size": round(parameters["mask_min_size"] / across**2),
    }
    if isinstance(parameters["shrink_factor"], list):
        changed["shrink_factor"] = [
            max(1, round(n / factor)) for n, factor in zip(parameters["shrink_factor"], factors, strict=True)
        ]
    return {**parameters, **changed}
