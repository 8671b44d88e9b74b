"""The whole stage on a volume in memory: mask, fits, gains, correction, by the functions that the tasks call.

For benchmarks, tests and tuning. It needs the volume, its mask, the samples and a float32 field at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linumpy.intensity.along_z import AlongZ
from linumpy.intensity.along_z_model import fit_along_z
from linumpy.intensity.bias_model import BiasModel
from linumpy.intensity.correction import correct_block
from linumpy.intensity.mask_plan import is_screened
from linumpy.intensity.offset import subtract_offset
from linumpy.intensity.plane_ratios import plane_ratios
from linumpy.intensity.sections import Sections, section_bounds
from linumpy.intensity.tissue_mask import stream_tissue_mask
from linumpy.plan.choices import SHADING_MM, FitChoice
from linumpy.stage.fit import FitSettings, complete_bias, fit_section_samples, usual_depth
from linumpy.stage.samples import KINDS, SampleGeometry, Samples

__all__ = [
    "Correction",
    "CorrectionParameters",
    "MemorySamples",
    "bias_of_samples",
    "correct_array",
    "fit_choices",
]

Triple = tuple[int, int, int]
VoxelSize = tuple[float, float, float]
PLANE_STRIDE = 1


@dataclass(frozen=True, kw_only=True)
class CorrectionParameters:
    """What the pipeline's parameters of the same names say; None chooses from the data (`auto`).

    Parameters
    ----------
    mode : str
        ``two_pass``, ``per_section`` or ``global``.
    mask_method, mask_min_size, mask_largest
        See `method`, `min_size` and `largest` of `compute_tissue_mask`.
    smoothing_sigma, smoothing_sigma_z, closing_radius, z_closing_sections
        See `compute_tissue_mask`.
    shrink_factor : int or triple of int, optional
        Voxels per sample (z, y, x) of both fits.
    spline_distance_section_mm, spline_distance_global_mm : float, optional
        Knot distance of the first level.
    n_iterations : tuple of int, optional
        Most iterations of each level of both fits.
    shading_section_mm, shading_global_mm : float
        Smallest span across XY of each fit; 0 for no limit.
    depth_profile : bool
        Take out before N4 what the planes of a section differ by.
    offset : float
        Subtracted from every voxel first.
    harmonise : str
        ``gain`` or ``none``.
    max_fit_voxels : int
        Most samples of a fit.
    backend : str
        Of the fits.
    workers : int, optional
        Threads.
    """

    mode: str = "two_pass"
    mask_method: str = "robust"
    mask_min_size: int = 0
    mask_largest: int = 0
    smoothing_sigma: float = 2.0
    smoothing_sigma_z: float = 1.0
    closing_radius: int = 3
    z_closing_sections: int = 2
    shrink_factor: int | Triple | None = None
    spline_distance_section_mm: float | None = 2.0
    spline_distance_global_mm: float | None = 10.0
    n_iterations: tuple[int, ...] | None = None
    shading_section_mm: float = SHADING_MM
    shading_global_mm: float = SHADING_MM
    depth_profile: bool = True
    harmonise: str = "gain"
    offset: float = 0.0
    max_fit_voxels: int = 32_000_000
    backend: str = "native"
    workers: int | None = None

    @classmethod
    def among(cls, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return those of the pipeline's resolved parameters that concern a correction, as they are."""
        return {entry.name: parameters[entry.name] for entry in fields(cls) if entry.name in parameters}

    @classmethod
    def of(cls, parameters: Mapping[str, Any], **changes: Any) -> CorrectionParameters:
        """Return what the pipeline's resolved parameters say of a correction."""
        given: dict[str, Any] = {
            name: None if value == "auto" else tuple(value) if isinstance(value, list) else value
            for name, value in cls.among(parameters).items()
        }
        return cls(**given, **changes)

    @classmethod
    def reference(cls, **changes: Any) -> CorrectionParameters:
        """Return the documented reference recipe: linear Otsu, shrink 4, four levels, 2 mm, then 10 mm."""
        recipe = cls(
            mask_method="otsu",
            shrink_factor=4,
            spline_distance_section_mm=2.0,
            spline_distance_global_mm=10.0,
            n_iterations=(50, 50, 50, 50),
            shading_section_mm=0.0,
            shading_global_mm=0.0,
            depth_profile=False,
            harmonise="none",
        )
        return replace(recipe, **changes)


@dataclass(frozen=True, eq=False)
class Correction:
    """What came of it.

    Parameters
    ----------
    bias : BiasModel
        The whole field.
    mask : ndarray of bool, shape (Z, Y, X)
        Tissue.
    log_bias_field, corrected : ndarray of float32, shape (Z, Y, X)
        The field in logarithms, and the image divided by it.
    section_choice, stack_choice : FitChoice
        How the fits were set up, and why.
    along_z : AlongZ or None
        Levels along Z; None where they were not wanted.
    """

    bias: BiasModel
    mask: NDArray[np.bool_]
    log_bias_field: NDArray[np.float32] = field(repr=False)
    corrected: NDArray[np.float32] = field(repr=False)
    section_choice: FitChoice
    stack_choice: FitChoice
    along_z: AlongZ | None


class MemorySamples(Samples):
    """Samples of a volume in memory, as a task's come from files.

    Parameters
    ----------
    geometry : SampleGeometry
        What is sampled.
    volume, mask : ndarray of shape (Z, Y, X)
        Image and tissue.
    """

    def __init__(self, geometry: SampleGeometry, volume: NDArray[Any], mask: NDArray[np.bool_]) -> None:
        self.geometry = geometry
        self._sets = {
            f"{name}_{kind}": array[(list(planes.planes), *planes.rows_columns)].astype(KINDS[kind])
            for name, planes in geometry.plane_sets.items()
            for kind, array in (("image", subtract_offset(volume, geometry.offset)), ("mask", mask))
        }

    @cached_property
    def along_z(self) -> AlongZ:
        """What the sections bring to the brightness along Z."""
        return fit_along_z(plane_ratios(self.planes()), self.geometry.sections)

    def _load(self, name: str) -> NDArray[Any]:
        return self._sets[name]


def correct_array(
    volume: NDArray[Any],
    sections: int | Sequence[Sequence[int]],
    voxel_size_mm: VoxelSize,
    parameters: CorrectionParameters | None = None,
    *,
    mask: NDArray[np.bool_] | None = None,
) -> Correction:
    """Correct an acquisition in memory as the pipeline does.

    Parameters
    ----------
    volume : ndarray of shape (Z, Y, X)
        Intensities of any real type.
    sections : int or sequence of (z_start, z_stop)
        Sections, see `linumpy.intensity.sections.section_bounds`.
    voxel_size_mm : tuple of float
        (z, y, x).
    parameters : CorrectionParameters, optional
        Default: the pipeline's defaults.
    mask : ndarray of bool, shape (Z, Y, X), optional
        Tissue, instead of finding it.

    Returns
    -------
    Correction
    """
    parameters = parameters or CorrectionParameters()
    bounds = section_bounds(len(volume), sections)
    shape: Triple = (volume.shape[0], volume.shape[1], volume.shape[2])
    if mask is None:
        blocks = stream_tissue_mask(
            lambda z_start, z_stop: volume[z_start:z_stop],
            shape,
            bounds,
            smoothing_sigma=parameters.smoothing_sigma,
            smoothing_sigma_z=parameters.smoothing_sigma_z,
            closing_radius=parameters.closing_radius,
            z_closing_sections=parameters.z_closing_sections,
            method=parameters.mask_method,
            min_size=parameters.mask_min_size,
            largest=parameters.mask_largest,
            workers=parameters.workers,
            screened=is_screened(parameters.mask_method),
        )
        mask = np.concatenate([block for _, block in blocks])
    section_choice, stack_choice = fit_choices(shape, bounds, voxel_size_mm, parameters)
    geometry = SampleGeometry(
        shape,
        voxel_size_mm,
        bounds,
        section_choice.shrink_factor,
        stack_choice.shrink_factor,
        PLANE_STRIDE,
        parameters.offset,
    )
    samples = MemorySamples(geometry, volume, mask)
    bias = bias_of_samples(samples, parameters)
    log_bias_field = bias.log_bias_field(shape)
    return Correction(
        bias=bias,
        mask=mask,
        log_bias_field=log_bias_field,
        corrected=correct_block(subtract_offset(volume, parameters.offset), log_bias_field.copy()),
        section_choice=section_choice,
        stack_choice=stack_choice,
        along_z=samples.along_z if parameters.depth_profile or parameters.harmonise == "gain" else None,
    )


def fit_settings(parameters: CorrectionParameters) -> tuple[FitSettings, FitSettings]:
    """Return how the sections and how the stack are fitted."""
    shared: dict[str, Any] = {
        "n_iterations": parameters.n_iterations,
        "depth_profile": parameters.depth_profile,
        "harmonise": parameters.harmonise == "gain",
        "backend": parameters.backend,
        "workers": parameters.workers,
    }
    return (
        FitSettings(parameters.spline_distance_section_mm, shading_mm=parameters.shading_section_mm, **shared),
        FitSettings(parameters.spline_distance_global_mm, shading_mm=parameters.shading_global_mm, **shared),
    )


def fit_choices(
    shape: Triple, sections: Sections, voxel_size_mm: VoxelSize, parameters: CorrectionParameters
) -> tuple[FitChoice, FitChoice]:
    """Return what is chosen for the deepest section and for the stack."""
    of_section, of_stack = fit_settings(parameters)
    deepest = max(z_stop - z_start for z_start, z_stop in sections)
    shrink = parameters.shrink_factor
    shrink = (shrink,) * 3 if isinstance(shrink, int) else shrink
    most = {"max_samples": parameters.max_fit_voxels}
    return (
        of_section.choose((deepest, *shape[1:]), voxel_size_mm, shrink, **most),
        of_stack.choose(shape, voxel_size_mm, shrink, section_planes=usual_depth(sections), **most),
    )


def bias_of_samples(samples: Samples, parameters: CorrectionParameters) -> BiasModel:
    """Estimate the whole bias field of an acquisition from its samples.

    Parameters
    ----------
    samples : Samples
        Samples of the acquisition, on the grids of :func:`fit_choices`.
    parameters : CorrectionParameters
        What to do.

    Returns
    -------
    BiasModel
    """
    of_section, of_stack = fit_settings(parameters)
    fits = [
        None if parameters.mode == "global" else fit_section_samples(samples, i, of_section)
        for i in range(len(samples.geometry.sections))
    ]
    return complete_bias(samples, fits, of_stack, parameters.mode)
