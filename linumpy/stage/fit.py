"""N4_SECTION and N4_GLOBAL: from samples to lattices and gains.

A section is fitted on its own samples. The sections then get their gains from the planes at the cuts, and the stack is
fitted on its samples after the sections' fields are divided out of them, by the function that later divides them out
of the voxels.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from linumpy.gpu import require_gpu
from linumpy.intensity.bias_model import BiasModel, read_json, write_json
from linumpy.intensity.correction import correct_block
from linumpy.intensity.depth_profile import fit_section, smooth_along_depth
from linumpy.intensity.harmonise import KEPT_SECTIONS, Harmonisation, harmonise, keep_median
from linumpy.intensity.sections import Sections
from linumpy.n4.fit import fit_log_bias_field
from linumpy.plan.choices import FitChoice, choose_fit
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
        Measure the decay along a section's depth before N4, and average along Z what N4 sees.
    backend : str
        ``native``, ``cpu`` or ``gpu``.
    workers : int or None
        Threads.
    """

    spline_distance_mm: float | None
    n_iterations: tuple[int, ...] | None
    shading_mm: float
    depth_profile: bool
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
        z_start, z_stop = samples.geometry.sections[index]
        logger.info("section %d (planes %d to %d): %s", index, z_start, z_stop, _outcome(fit))
    write_json(output, fits)


def fit_stack(
    samples: Samples, section_fits: Sequence[Path] | None, settings: FitSettings | None, with_gains: bool, output: Path
) -> None:
    """Gather the sections' fits, give the sections their gains, fit the stack, and write the whole bias field.

    Parameters
    ----------
    samples : Samples
        Samples of the acquisition.
    section_fits : sequence of Path, or None
        What :func:`fit_sections` wrote, all sections in any order; None where the sections are not fitted.
    settings : FitSettings or None
        None leaves the stack unfitted.
    with_gains : bool
        Harmonise the sections.
    output : Path
        Folder of the bias field, see :class:`linumpy.intensity.bias_model.BiasModel`.

    Raises
    ------
    ValueError
        If a section's fit is missing.
    """
    if settings is not None:
        require_gpu(settings.backend)
    n_sections = len(samples.geometry.sections)
    fits: dict[int, Any] = dict.fromkeys(range(n_sections)) if section_fits is None else {}
    for path in sorted(section_fits or ()):
        fits |= {stored["index"]: stored["fit"] for stored in read_json(path)}
    if sorted(fits) != list(range(n_sections)):
        missing = sorted(set(range(n_sections)) - set(fits))
        raise ValueError(f"the fits of sections {missing} are missing; all {n_sections} are needed")
    bias, _ = complete_bias(samples, [fits[i] for i in range(n_sections)], settings, with_gains)
    bias.save(output)


def complete_bias(
    samples: Samples,
    section_fits: Sequence[Mapping[str, Any] | None],
    settings: FitSettings | None,
    with_gains: bool,
    *,
    kept_sections: float = KEPT_SECTIONS,
) -> tuple[BiasModel, Harmonisation | None]:
    """Complete the sections' fits to the whole bias field: gains, stack, and the constant that keeps the median.

    Parameters
    ----------
    samples : Samples
        Samples of the acquisition.
    section_fits : sequence of dict or None
        A section each.
    settings : FitSettings or None
        Of the stack; None leaves it unfitted.
    with_gains : bool
        Harmonise the sections.
    kept_sections : float
        Waves of the brightness longer than this many sections are kept by the gains.

    Returns
    -------
    bias : BiasModel
    harmonisation : Harmonisation or None
        None without gains.
    """
    geometry = samples.geometry
    grid = geometry.stack_grid
    n_sections = len(geometry.sections)
    bias = BiasModel(geometry.sections, geometry.voxel_size_mm, tuple(section_fits), (1.0,) * n_sections)
    harmonisation = None
    if with_gains:
        bias, harmonisation = harmonise(bias, samples.end_plane, geometry.end_stride, kept_sections=kept_sections)
    image, mask = samples.stack()
    if settings is not None:
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
        bias = replace(bias, global_fit=fit.to_dict() if fit.n_voxels else None)
        logger.info("stack: %s", _outcome(bias.global_fit))
    if harmonisation is not None:
        log_bias_field = bias.log_bias_field(grid.size, start=grid.start, step=grid.step)
        bias = keep_median(bias, harmonisation.has_tissue, image, mask, log_bias_field)
    return bias, harmonisation


def fit_section_samples(samples: Samples, index: int, settings: FitSettings) -> dict[str, Any] | None:
    """Fit one section on its samples; None where it has no tissue."""
    geometry = samples.geometry
    grid = geometry.section_grid(index)
    choice = settings.choose(grid.shape, geometry.voxel_size_mm, geometry.section_shrink)
    image, mask = samples.section(index)
    given: dict[str, Any] = {
        "n_control_points": choice.n_control_points,
        "n_iterations": choice.n_iterations,
        "refinements": choice.refinements,
        "origin_mm": grid.origin_mm(geometry.voxel_size_mm, (geometry.sections[index][0], 0, 0)),
        "spacing_mm": grid.spacing_mm(geometry.voxel_size_mm),
        "backend": settings.backend,
        "workers": settings.workers,
    }
    if settings.depth_profile:
        fit = fit_section(image, mask, depth_smoothing=choice.depth_smoothing, **given)
    else:
        fit = fit_log_bias_field(image, mask, **given)
    return fit.to_dict() if fit.n_voxels else None


def _outcome(fit: Mapping[str, Any] | None) -> str:
    if fit is None:
        return "no tissue, not fitted"
    return "iterations " + ", ".join(str(level["iterations"]) for level in fit["levels"])
