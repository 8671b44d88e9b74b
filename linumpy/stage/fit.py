"""N4_SECTION and N4_GLOBAL: from samples to lattices and gains.

A section is fitted on its own samples, less what its planes differ by. What the sections' fields share is told from
what they have of their own, and the stack is fitted on its samples after the sections' fields are divided out of them,
by the function that later divides them out of the voxels.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from linumpy.gpu import require_gpu
from linumpy.intensity.bias_model import BiasModel, read_json, write_json
from linumpy.intensity.correction import correct_block
from linumpy.intensity.harmonise import keep_median
from linumpy.intensity.plane_ratios import MIN_TISSUE
from linumpy.intensity.quantiles import median
from linumpy.intensity.sections import Sections
from linumpy.intensity.shading import smooth_along_depth, tissue_support, with_shared_shading, without_error
from linumpy.n4.fit import fit_log_bias_field, usable_samples
from linumpy.n4.lattice import Lattice
from linumpy.plan.choices import FitChoice, choose_fit
from linumpy.stage.match import write_level
from linumpy.stage.samples import Samples

__all__ = [
    "FitSettings",
    "complete_bias",
    "fit_section_samples",
    "fit_sections",
    "fit_stack",
    "usual_depth",
]

logger = logging.getLogger(__name__)

Triple = tuple[int, int, int]
NAMED_SECTIONS = 20
"""Most sections without tissue that the log names."""


@dataclass(frozen=True)
class FitSettings:
    """How N4 fits; None chooses from the data, see :func:`linumpy.plan.choices.choose_fit`.

    Parameters
    ----------
    spline_distance_mm : float or None
        Knot distance of the first level.
    n_iterations : tuple of int or None
        Most iterations of each level.
    shading_mm : float
        Smallest span across XY, 0 for no limit.
    depth_profile : bool
        Take out what the planes of a section differ by before N4, and average along Z what N4 sees.
    harmonise : bool
        Give the sections their gains.
    backend : str
        ``native``, ``cpu`` or ``gpu``.
    workers : int or None
        Threads.
    """

    spline_distance_mm: float | None
    n_iterations: tuple[int, ...] | None
    shading_mm: float
    depth_profile: bool
    harmonise: bool
    backend: str
    workers: int | None

    def choose(
        self,
        shape: Triple,
        voxel_size_mm: Sequence[float],
        shrink_factor: Triple | None,
        *,
        section_planes: int | None = None,
        **limits: int,
    ) -> FitChoice:
        """Complete the settings for a section of this shape, or for a stack whose sections have `section_planes`."""
        return choose_fit(
            shape,
            voxel_size_mm,
            section_planes=section_planes,
            shrink_factor=shrink_factor,
            spline_distance_mm=self.spline_distance_mm,
            n_iterations=self.n_iterations,
            shading_mm=self.shading_mm,
            depth_profile=self.depth_profile,
            isotropic=self.backend == "cpu",
            **limits,
        )


def usual_depth(sections: Sections) -> int:
    """Return the planes of the middling section."""
    return sorted(z_stop - z_start for z_start, z_stop in sections)[len(sections) // 2]


def fit_sections(samples: Samples, sections: Sequence[int], settings: FitSettings, output: Path) -> None:
    """Fit sections and write a JSON list of ``{"index", "fit"}``; ``fit`` is null for a section without tissue."""
    require_gpu(settings.backend)
    fits = []
    for index in sections:
        fit = fit_section_samples(samples, index, settings)
        fits.append({"index": index, "fit": fit})
        if fit is not None:
            z_start, z_stop = samples.geometry.sections[index]
            logger.info("section %d (planes %d to %d): %s", index, z_start, z_stop, _outcome(fit))
    left_out = [stored["index"] for stored in fits if stored["fit"] is None]
    if left_out:
        named = ", ".join(map(str, left_out[:NAMED_SECTIONS])) + (", ..." if len(left_out) > NAMED_SECTIONS else "")
        logger.info("%d sections without a sample of tissue are not fitted: %s", len(left_out), named)
    write_json(output, fits)


def fit_stack(
    samples: Samples,
    section_fits: Sequence[Path] | None,
    settings: FitSettings,
    mode: str,
    output: Path,
    output_level: Path | None = None,
) -> None:
    """Gather the sections' fits, fit the stack, and write the whole bias field.

    Parameters
    ----------
    samples : Samples
        Samples of the acquisition.
    section_fits : sequence of Path, or None
        What :func:`fit_sections` wrote, all sections in any order; None where the sections are not fitted.
    settings : FitSettings
        Of the stack.
    mode : str
        ``per_section`` leaves the stack unfitted.
    output : Path
        Folder of the bias field, see :class:`linumpy.intensity.bias_model.BiasModel`.
    output_level : Path, optional
        Gets the level of the corrected tissue, see :func:`linumpy.stage.match.write_level`.

    Raises
    ------
    ValueError
        If a section's fit is missing.
    """
    require_gpu(settings.backend)
    n_sections = len(samples.geometry.sections)
    fits: dict[int, Any] = dict.fromkeys(range(n_sections)) if section_fits is None else {}
    for path in sorted(section_fits or ()):
        fits |= {stored["index"]: stored["fit"] for stored in read_json(path)}
    if sorted(fits) != list(range(n_sections)):
        missing = sorted(set(range(n_sections)) - set(fits))
        raise ValueError(f"the fits of sections {missing} are missing; all {n_sections} are needed")
    bias = complete_bias(samples, [fits[i] for i in range(n_sections)], settings, mode)
    bias.save(output)
    if output_level is not None:
        write_level(samples, bias, output_level)


def complete_bias(
    samples: Samples, section_fits: Sequence[Mapping[str, Any] | None], settings: FitSettings, mode: str
) -> BiasModel:
    """Complete the sections' fits to the whole bias field: levels along Z, shared shading, stack, and the constant.

    Parameters
    ----------
    samples : Samples
        Samples of the acquisition.
    section_fits : sequence of dict or None
        A section each.
    settings : FitSettings
        Of the stack.
    mode : str
        ``per_section`` leaves the stack unfitted.

    Returns
    -------
    BiasModel
    """
    geometry = samples.geometry
    grid = geometry.stack_grid
    if settings.depth_profile:
        section_fits = _shared(samples, section_fits)
    profile, gains = levels_along_z(samples, settings)
    bias = BiasModel(geometry.sections, geometry.voxel_size_mm, tuple(section_fits), gains, profile=profile)
    image, mask = samples.stack()
    if mode != "per_section":
        choice = settings.choose(
            geometry.shape,
            geometry.voxel_size_mm,
            geometry.stack_shrink,
            section_planes=usual_depth(geometry.sections),
        )
        even = correct_block(image, bias.log_bias_field(grid.size, start=grid.start, step=grid.step))
        fit = fit_log_bias_field(
            smooth_along_depth(even, mask, choice.depth_smoothing),
            mask,
            n_control_points=choice.n_control_points,
            n_iterations=choice.n_iterations,
            refinements=choice.refinements,
            origin_mm=grid.origin_mm(geometry.voxel_size_mm),
            spacing_mm=grid.spacing_mm(geometry.voxel_size_mm),
            backend=settings.backend,
            workers=settings.workers,
        )
        if settings.depth_profile and fit.n_voxels:
            support = tissue_support(mask, fit.lattice.n_control_points)
            fit = replace(fit, lattice=without_error(fit.lattice, support, len(bias.sections)))
        bias = replace(bias, global_fit=fit.to_dict() if fit.n_voxels else None)
        logger.info("stack: %s", _outcome(bias.global_fit))
    if settings.depth_profile and settings.harmonise:
        bias = _with_levels_alone_along_z(bias, samples)
    if settings.harmonise:
        log_bias_field = bias.log_bias_field(grid.size, start=grid.start, step=grid.step)
        bias = keep_median(bias, samples.along_z.tissue, image, mask, log_bias_field)
    return bias


def levels_along_z(samples: Samples, settings: FitSettings) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the log level of each plane within its section, and the sections' gains, as far as they are wanted."""
    sections = samples.geometry.sections
    if not (settings.depth_profile or settings.harmonise):
        return (0.0,) * samples.geometry.shape[0], (1.0,) * len(sections)
    return samples.along_z.split(sections, within=settings.depth_profile, between=settings.harmonise)


def _shared(samples: Samples, section_fits: Sequence[Mapping[str, Any] | None]) -> tuple[Mapping[str, Any] | None, ...]:
    """Give every section the shading that all share, and of its own what stands out of N4's error."""
    lattices = [None if fit is None else Lattice.from_dict(fit["lattice"]) for fit in section_fits]
    supports = [
        None if lattice is None else tissue_support(mask, lattice.n_control_points)
        for lattice, mask in zip(lattices, samples.section_masks(), strict=True)
    ]
    shared = with_shared_shading(lattices, supports)
    return tuple(
        None if fit is None or lattice is None else {**fit, "lattice": lattice.to_dict()}
        for fit, lattice in zip(section_fits, shared, strict=True)
    )


def _with_levels_alone_along_z(bias: BiasModel, samples: Samples) -> BiasModel:
    """Take out of each plane's level what the lattices add to it over its tissue.

    N4 cannot tell a slow change of the tissue along Z from bias; what is known along Z stands in the levels already.
    """
    n_sections = len(bias.sections)
    alone = replace(bias, gains=(1.0,) * n_sections, profile=())
    stride = samples.geometry.plane_stride
    added = np.full(len(bias.profile), np.nan)
    for first, _, masks in samples.blocks():
        fields = alone.log_bias_field(masks.shape, start=(first, 0, 0), step=(1, stride, stride))
        for z, (field, mask) in enumerate(zip(fields, masks, strict=True), start=first):
            if np.count_nonzero(mask) >= MIN_TISSUE:
                added[z] = median(field[mask])
    profile = np.array(bias.profile)
    for z_start, z_stop in bias.sections:
        planes = np.arange(z_start, z_stop)
        measured = planes[np.isfinite(added[planes])]
        if len(measured):
            profile[planes] -= np.interp(planes, measured, added[measured])
    return replace(bias, profile=tuple(profile.tolist()))


def fit_section_samples(samples: Samples, index: int, settings: FitSettings) -> dict[str, Any] | None:
    """Fit one section on its samples; None where it has no tissue."""
    geometry = samples.geometry
    grid = geometry.section_grid(index)
    z_start = geometry.sections[index][0]
    choice = settings.choose(grid.shape, geometry.voxel_size_mm, geometry.section_shrink)
    image, mask = samples.section(index)
    if not usable_samples(image, mask).any():
        return None
    if settings.depth_profile:
        levels = samples.along_z.within(*geometry.sections[index])[0].astype(np.float32)
        levels = levels[grid.start[0] + grid.step[0] * np.arange(grid.size[0])]
        flat = np.divide(image, np.exp(levels)[:, None, None], dtype=np.float32)
        image = smooth_along_depth(flat, mask, choice.depth_smoothing)
    fit = fit_log_bias_field(
        image,
        mask,
        n_control_points=choice.n_control_points,
        n_iterations=choice.n_iterations,
        refinements=choice.refinements,
        origin_mm=grid.origin_mm(geometry.voxel_size_mm, (z_start, 0, 0)),
        spacing_mm=grid.spacing_mm(geometry.voxel_size_mm),
        backend=settings.backend,
        workers=settings.workers,
    )
    if settings.depth_profile:
        # N4 leaves a constant free; sections are compared without it.
        first = (z_start + grid.start[0], *grid.start[1:])
        field = fit.lattice.evaluate(grid.size, geometry.voxel_size_mm, start=first, step=grid.step)
        level = np.float32(np.median(field[mask]))
        fit = replace(fit, lattice=replace(fit.lattice, coefficients=fit.lattice.coefficients - level))
    return fit.to_dict()


def _outcome(fit: Mapping[str, Any] | None) -> str:
    if fit is None:
        return "no tissue, not fitted"
    return "iterations " + ", ".join(str(level["iterations"]) for level in fit["levels"])
