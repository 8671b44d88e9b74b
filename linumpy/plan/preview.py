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

__all__ = ["PREVIEW_VOXELS", "Preview", "preview"]

Triple = tuple[int, int, int]

PREVIEW_VOXELS = 24 * 2**20
"""A stand-in has no more voxels: mask, fits and correction of so many take a few seconds."""
SECTION_PLANES = 2
"""Fewest planes of a section in the stand-in, of sections that have as many."""


@dataclass(frozen=True)
class Preview:
    """What the tasks work on instead of the full image.

    Parameters
    ----------
    image : Image
        The stand-in.
    level : int
        Level it is taken from.
    stride : (int, int, int)
        Voxels of that level per sample (z, y, x).
    sections : sequence of (int, int)
        Planes of each section in it.
    parameters : mapping
        Resolved parameters, those in voxels brought to its voxels.
    warning : dict
        For the report: what this is, and that it is no result.
    """

    image: Image
    level: int
    stride: Triple
    sections: Sections
    parameters: Mapping[str, Any]
    warning: dict[str, Any]


def preview(image: Image, sections: Sections, parameters: Mapping[str, Any]) -> Preview:
    """Choose the stand-in of an acquisition.

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
    Preview
    """
    thinnest = min(z_stop - z_start for z_start, z_stop in sections)
    levels = (image, *image.levels)
    usable = [
        index
        for index, level in enumerate(levels)
        if index == 0 or thinnest * level.shape[0] >= SECTION_PLANES * image.shape[0]
    ]
    small = [index for index in usable if math.prod(levels[index].shape) <= PREVIEW_VOXELS]
    index = small[0] if small else usable[-1]
    apart = 1 if small else math.ceil(math.sqrt(math.prod(levels[index].shape) / PREVIEW_VOXELS))
    stand_in = sampled(image, index, (1, apart, apart))
    factors = [fine / coarse for fine, coarse in zip(image.shape, stand_in.shape, strict=True)]
    cuts = [round(z_start / factors[0]) for z_start, _ in sections] + [stand_in.shape[0]]
    told = " x ".join(f"1/{factor:.3g}" for factor in factors)
    return Preview(
        image=stand_in,
        level=index,
        stride=(1, apart, apart),
        sections=tuple(itertools.pairwise(cuts)),
        parameters=_in_voxels_of(parameters, factors),
        warning={
            "code": "preview",
            "message": f"a preview of {'x'.join(map(str, stand_in.shape))} voxels, {told} (z, y, x) of the image: to "
            f"judge settings by, not a result; run without --preview for that",
            "section": None,
        },
    )


def _in_voxels_of(parameters: Mapping[str, Any], factors: list[float]) -> dict[str, Any]:
    """Return the parameters with those in voxels divided by what one voxel stands for."""
    along_z, across = factors[0], math.sqrt(factors[1] * factors[2])
    changed: dict[str, Any] = {
        "smoothing_sigma": parameters["smoothing_sigma"] / across,
        "smoothing_sigma_z": parameters["smoothing_sigma_z"] / along_z,
        "closing_radius": round(parameters["closing_radius"] / across),
        "z_closing_sections": round(parameters["z_closing_sections"] / along_z),
        "mask_min_size": round(parameters["mask_min_size"] / across**2),
        "slab_planes": None,
    }
    if isinstance(parameters["shrink_factor"], list):
        shrink = parameters["shrink_factor"] * (3 if len(parameters["shrink_factor"]) == 1 else 1)
        changed["shrink_factor"] = [max(1, round(n / factor)) for n, factor in zip(shrink, factors, strict=True)]
    return {**parameters, **changed}
