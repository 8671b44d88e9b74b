"""The settings of a simulated acquisition in physical units, and named variants that break corrections.

:class:`Imaging` holds for every even volume; :class:`Physics` adds what the prism phantom is made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike


@dataclass(frozen=True)
class Imaging:
    """What the microscope and the cuts do; brightness is relative to that of grey matter.

    Parameters
    ----------
    signal_level : float, optional
        Intensity of a reflectivity of 1 without bias. By default 1000, or 60 where the type has 8 bits.
    attenuation_per_mm, attenuation_spread : float
        Mean round-trip attenuation of intensity, and its relative standard deviation between sections.
    attenuation_by_tissue : float
        Share of the attenuation that follows the brightness of what lies above a voxel in its section, 0 to 1.
    focus_depth_um, rayleigh_range_um, focus_curvature_um, focus_tilt_um : float
        Depth of the focus below the block face, half width of the confocal gate, how much deeper the focus
        lies at the corner of the field of view than in its middle, and at its last corner than at its first.
    cut_dip, cut_dip_depth_um : float
        Share of the brightness lost at the block face, and the depth over which it comes back.
    gain_spread : float
        Standard deviation of the logarithm of a section's overall gain.
    vignetting : float
        Logarithmic loss at the corner of the field of view.
    tile_mm : float, optional
        Side of the mosaic's tiles: the vignetting is then that of each tile. None means one tile.
    illumination, illumination_section, illumination_scale_mm : float
        Standard deviation, in logarithms, of the smooth random illumination that all sections share and of
        each section's own; and its length scale.
    bias_strength : float
        Factor on the whole log bias field; 0 gives an acquisition without any bias.
    agarose, agarose_texture : float
        Reflectivity of the embedding, and the standard deviation of its texture in logarithms.
    texture_scale_um : float
        Length scale of textures.
    looks : float, optional
        Independent speckle patterns averaged in one voxel: a speckle of relative standard deviation s has
        ``1 / s**2``. None means no speckle.
    photons : float, optional
        Photons that a brightness of 1 gives; their number has shot noise. None means none.
    noise : float
        Standard deviation of the detector's additive noise.
    camera_offset : float
        What the detector adds everywhere.
    saturation : float, optional
        Brightness at which the detector saturates; None means at the limit of the type.
    dtype : dtype
        Type of the volume: float32, or an integer type (rounded, clipped to its range).
    """

    signal_level: float | None = None
    attenuation_per_mm: float = 3.0
    attenuation_spread: float = 0.2
    attenuation_by_tissue: float = 0.0
    focus_depth_um: float = 60.0
    rayleigh_range_um: float = 250.0
    focus_curvature_um: float = 40.0
    focus_tilt_um: float = 0.0
    cut_dip: float = 0.15
    cut_dip_depth_um: float = 15.0
    gain_spread: float = 0.08
    vignetting: float = 0.35
    tile_mm: float | None = None
    illumination: float = 0.10
    illumination_section: float = 0.04
    illumination_scale_mm: float = 3.0
    bias_strength: float = 1.0
    agarose: float = 0.06
    agarose_texture: float = 0.0
    texture_scale_um: float = 50.0
    looks: float | None = 16.0
    photons: float | None = None
    noise: float = 0.01
    camera_offset: float = 0.0
    saturation: float | None = None
    dtype: DTypeLike = "float32"

    @property
    def grey_level(self) -> float:
        """Intensity of grey matter without bias, the default of `signal_level` filled in."""
        if self.signal_level is not None:
            return self.signal_level
        return 60.0 if np.dtype(self.dtype).itemsize == 1 else 1000.0


@dataclass(frozen=True)
class Physics(Imaging):
    """What the prism phantom's tissue is like, besides how it is imaged; brightness relative to grey matter.

    Parameters
    ----------
    reflectivity : tuple of float
        Grey matter, white matter, dark nuclei.
    texture : float
        Standard deviation of the tissue's fine texture, in logarithms.
    anatomy_scale_mm : float
        Size of white-matter bundles and nuclei. Far below the knot distance of a fit they average out;
        above it no algorithm can tell them from bias.
    class_drift : float
        Raises the share of white matter from the first plane to the last (0: the same everywhere; 1: from
        about 5 % of the deep tissue to about 40 %).
    tilt_deg : float
        Angle of the tissue's axis to the normal of the cuts; the outline moves by its tangent.
    footprint : float
        Size of the outline; 1 leaves a margin of agarose, 1.5 reaches out of the field of view.
    offset : float
        Shift of the outline along Y and X, as a share of the field of view.
    empty_sections : tuple of int
        Sections that hold agarose only; negative indices count from the last one.
    inclusions_per_mm3, inclusion_diameter_um, inclusion_brightness : float
        Bright inclusions (bubbles, pigment, calcification) anywhere in the block.
    cells_per_mm3, cell_diameter_um, cell_brightness : float
        Sparse bright cells in the tissue, as in fluorescence.
    """

    reflectivity: tuple[float, float, float] = (1.0, 1.5, 0.7)
    texture: float = 0.05
    anatomy_scale_mm: float = 0.2
    class_drift: float = 0.0
    tilt_deg: float = 8.0
    footprint: float = 1.0
    offset: float = 0.0
    empty_sections: tuple[int, ...] = ()
    inclusions_per_mm3: float = 0.0
    inclusion_diameter_um: float = 180.0
    inclusion_brightness: float = 12.0
    cells_per_mm3: float = 0.0
    cell_diameter_um: float = 45.0
    cell_brightness: float = 6.0


Settings = TypeVar("Settings", bound=Imaging)

VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "serial_oct": {},
        "strong_decay": {"attenuation_per_mm": 9.0, "attenuation_spread": 0.25},
        "oblique": {"tilt_deg": 30.0},
        "out_of_view": {"footprint": 1.5, "offset": 0.12},
        "empty_sections": {"empty_sections": (0, -1)},
        "inclusions": {"inclusions_per_mm3": 0.6},
        "sparse_cells": {
            "cells_per_mm3": 150.0, "reflectivity": (1.0, 0.75, 1.25), "agarose": 0.02,
            "attenuation_per_mm": 2.5, "looks": 80.0, "dtype": "uint16",
        },
        "heavy_speckle": {"looks": 3.0},
        "uint8": {"dtype": "uint8"},
        "int16": {"dtype": "int16"},
        "uint16": {"dtype": "uint16"},
        "saturated": {"dtype": "uint16", "saturation": 1.25},
        "bias_free": {"bias_strength": 0.0},
        "bias_free_coarse": {"bias_strength": 0.0, "anatomy_scale_mm": 3.0},
        "bias_free_drift": {"bias_strength": 0.0, "class_drift": 1.0},
    }
)  # fmt: skip
"""What each named variant changes of :class:`Physics`."""


def variant_physics(variant: str, overrides: Mapping[str, Any]) -> Physics:
    """Return the settings of a variant, with `overrides` over them; unknown names raise a ValueError."""
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r} is not known; choose one of {', '.join(VARIANTS)}")
    return changed(Physics(), {**VARIANTS[variant], **overrides})


def changed(settings: Settings, overrides: Mapping[str, Any]) -> Settings:
    """Return `settings` with `overrides` over them; unknown names raise a ValueError."""
    known = [field.name for field in fields(settings)]
    unknown = sorted(set(overrides) - set(known))
    if unknown:
        raise ValueError(f"{', '.join(unknown)} is not a setting of the simulation; there are {', '.join(known)}")
    return replace(settings, **overrides)
