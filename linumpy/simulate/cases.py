"""Named acquisitions of real anatomy with a known field: what corrections are measured on.

Each case images an even volume; ``CASES`` and ``DAMAGED`` say how. The volumes are ``organ`` and ``even_brain``, a file
that is given. Seed 0 is for tuning, others are for reporting; the seed also makes another organ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from linumpy.simulate.acquisition import Acquisition, image_volume
from linumpy.simulate.damage import (
    dim_planes,
    drop_planes,
    fill_box,
    fill_frame,
    saturate_patches,
    tear_section,
)
from linumpy.simulate.even import EvenVolume, open_even_volume
from linumpy.simulate.organ import organ
from linumpy.simulate.physics import Imaging

EVEN_BRAIN = Path("../shared/data/even_brain.ome.zarr")
VOLUMES = ("even_brain", "organ")

# The decay over a section of 200 um is 1.4 in logarithms.
_USUAL: Mapping[str, Any] = MappingProxyType(
    {
        "dtype": "uint16", "attenuation_per_mm": 5.6, "attenuation_spread": 0.2, "gain_spread": 0.12,
        "focus_depth_um": 40.0, "focus_tilt_um": 80.0, "rayleigh_range_um": 200.0, "focus_curvature_um": 10.0,
        "vignetting": 0.15, "illumination": 0.07, "illumination_section": 0.025, "agarose_texture": 0.05,
    }
)  # fmt: skip
_NO_DECAY: Mapping[str, Any] = MappingProxyType({"attenuation_per_mm": 0.0, "rayleigh_range_um": 1e9, "cut_dip": 0.0})


def _times(factor: float, *names: str) -> dict[str, Any]:
    return {name: factor * _USUAL[name] for name in names}


def _as_deep(factor: float) -> dict[str, Any]:
    """Return what gives the usual decay to sections that are `factor` times as deep."""
    depths = _times(factor, "focus_depth_um", "focus_tilt_um", "rayleigh_range_um", "focus_curvature_um")
    return depths | _times(1 / factor, "attenuation_per_mm") | {"cut_dip_depth_um": factor * Imaging.cut_dip_depth_um}


def _plane(acquisition: Acquisition, share: float) -> int:
    return int(share * len(acquisition.volume))


def _tile(acquisition: Acquisition) -> tuple[slice, slice, slice]:
    z, y, x = acquisition.volume.shape
    return slice(int(0.4 * z), int(0.55 * z)), slice(int(0.3 * y), int(0.6 * y)), slice(int(0.3 * x), int(0.6 * x))


@dataclass(frozen=True)
class Case:
    """One way of imaging.

    Parameters
    ----------
    planes : int
        Planes of a section, about: the sections are equally deep.
    imaging : mapping
        Fields of :class:`linumpy.simulate.Imaging` that differ from the usual ones.
    z_um : float, optional
        Distance of the planes if the anatomy is squeezed along Z.
    damage : function, optional
        What else befalls the acquisition.
    """

    planes: int = 8
    imaging: Mapping[str, Any] = field(default_factory=dict)
    z_um: float | None = None
    damage: Callable[[Acquisition], Acquisition] | None = None


CASES: Mapping[str, Case] = MappingProxyType(
    {
        "even": Case(imaging={"bias_strength": 0.0}),
        "usual_decay": Case(),
        # With the confocal gate as it is, this is 2.2 times the decay.
        "strong_decay": Case(imaging=_times(2.5, "attenuation_per_mm") | {"looks": 3.0}),
        "deep_sections": Case(planes=40, imaging=_as_deep(5)),
        "squeezed": Case(planes=20, z_um=10.0),
        "one_plane": Case(planes=1, imaging=_NO_DECAY),
        "two_planes": Case(planes=2),
        "illumination": Case(imaging=_times(3, "vignetting", "illumination", "illumination_section")),
    }
)
"""Nothing is damaged: the field alone is to be found."""

DAMAGED: Mapping[str, Case] = MappingProxyType(
    {
        "dim_planes": Case(
            damage=lambda a: dim_planes(a, {_plane(a, 0.29): 0.4, _plane(a, 0.49): 0.7, _plane(a, 0.67): 0.85})
        ),
        "bright_plane": Case(damage=lambda a: dim_planes(a, {_plane(a, 0.49): 1.5})),
        "dropped_planes": Case(damage=lambda a: drop_planes(a, (_plane(a, 0.29), _plane(a, 0.49)))),
        "torn_section": Case(damage=lambda a: tear_section(a, len(a.sections) // 2)),
        "white_frame": Case(damage=lambda a: fill_frame(a, 8, 65.535)),
        "grey_frame": Case(damage=lambda a: fill_frame(a, 8, 1.0)),
        "missing_tile": Case(damage=lambda a: fill_box(a, _tile(a), 0.0)),
        "grey_tile": Case(damage=lambda a: fill_box(a, _tile(a), 0.8)),
        "saturated_patches": Case(damage=lambda a: saturate_patches(a, 40)),
        "clipped": Case(imaging={"saturation": 1.1}),
        "camera_offset": Case(imaging={"camera_offset": 0.2}),
        "shadows": Case(imaging={"attenuation_by_tissue": 0.5}),
        "tiles": Case(imaging={"tile_mm": 1.5}),
        "dark_agarose": Case(imaging={"agarose": 0.3}),
        "bright_agarose": Case(imaging={"agarose": 3.0}),
    }
)
"""The usual decay, and something else that is wrong."""


def case(name: str, volume: str | EvenVolume = "organ", *, seed: int = 0, even_brain: Path = EVEN_BRAIN) -> Acquisition:
    """Image a case.

    Parameters
    ----------
    name : str
        A key of `CASES` or `DAMAGED`.
    volume : str or EvenVolume
        ``organ`` or ``even_brain``, or a volume of one's own.
    seed : int
        Of all draws.
    even_brain : path
        Where ``even_brain`` lies.

    Returns
    -------
    Acquisition
    """
    known = {**CASES, **DAMAGED}
    if name not in known:
        raise ValueError(f"case {name!r} is not known; choose one of {', '.join(known)}")
    chosen = known[name]
    if volume == "organ":
        even = organ(seed=seed)
    elif volume == "even_brain":
        even = open_even_volume(even_brain)
    elif isinstance(volume, EvenVolume):
        even = volume
    else:
        raise ValueError(f"volume {volume!r} is not known; choose one of {', '.join(VOLUMES)}")
    if chosen.z_um is not None:
        even = even.squeezed(chosen.z_um)
    n_sections = max(round(len(even.reflectivity) / chosen.planes), 1)
    acquisition = image_volume(even, sections=n_sections, seed=seed, name=name, **{**_USUAL, **chosen.imaging})
    return chosen.damage(acquisition) if chosen.damage else acquisition
