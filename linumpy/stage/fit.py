"""N4_SECTION and N4_GLOBAL: from samples to lattices.

A section is fitted on its own samples. The stack is fitted on its samples after the sections' fields are divided out of
them, by the function that later divides them out of the voxels.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linumpy.gpu import GPU_AVAILABLE
from linumpy.intensity.bias_model import BiasModel, read_json, write_json
from linumpy.intensity.correction import correct_block
from linumpy.n4.fit import fit_log_bias_field
from linumpy.n4.grid import SampleGrid, n_control_points
from linumpy.stage.samples import Samples

__all__ = ["FitSettings", "fit_sections", "fit_stack", "require_backend"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitSettings:
    """How N4 fits.

    Parameters
    ----------
    spline_distance_mm : float
        Knot distance of the first level.
    n_iterations : tuple of int
        Most iterations of each level.
    backend : str
        ``native``, ``cpu`` or ``gpu``.
    workers : int
        Threads.
    """

    spline_distance_mm: float
    n_iterations: tuple[int, ...]
    backend: str
    workers: int


def require_backend(backend: str) -> None:
    """Refuse a backend that is not there: in the pipeline nothing falls back to another.

    Raises
    ------
    ValueError
        If a GPU is asked for and CuPy finds none.
    """
    if backend == "gpu" and not GPU_AVAILABLE:
        raise ValueError(
            "backend gpu was asked for, and CuPy finds no CUDA device here; run with -profile gpu on nodes that "
            "have one, or with --backend native"
        )


def fit_sections(samples: Samples, sections: Sequence[int], settings: FitSettings, output: Path) -> None:
    """Fit sections and write a JSON list of ``{"index", "fit"}``; ``fit`` is null for a section without tissue."""
    require_backend(settings.backend)
    geometry = samples.geometry
    fits = []
    for index in sections:
        z_start, z_stop = geometry.sections[index]
        image, mask = samples.section(index)
        fit = _fit(image, mask, geometry.section_grid(index), geometry.voxel_size_mm, (z_start, 0, 0), settings)
        fits.append({"index": index, "fit": fit})
        logger.info("section %d (planes %d to %d): %s", index, z_start, z_stop, _outcome(fit))
    write_json(output, fits)


def fit_stack(samples: Samples, section_fits: Sequence[Path], settings: FitSettings | None, output: Path) -> None:
    """Fit the stack on what the sections' fields leave, and write the whole bias field.

    Parameters
    ----------
    samples : Samples
        Samples of the acquisition.
    section_fits : sequence of Path
        What :func:`fit_sections` wrote, all sections in any order; none where the sections are not fitted.
    settings : FitSettings or None
        None leaves the stack unfitted.
    output : Path
        Folder of the bias field, see :class:`linumpy.intensity.bias_model.BiasModel`.

    Raises
    ------
    ValueError
        If a section's fit is missing.
    """
    geometry = samples.geometry
    n_sections = len(geometry.sections)
    fits: dict[int, Any] = dict.fromkeys(range(n_sections)) if not section_fits else {}
    for path in sorted(section_fits):
        fits |= {stored["index"]: stored["fit"] for stored in read_json(path)}
    if sorted(fits) != list(range(n_sections)):
        missing = sorted(set(range(n_sections)) - set(fits))
        raise ValueError(f"the fits of sections {missing} are missing; all {n_sections} are needed")
    bias = BiasModel(
        sections=geometry.sections,
        voxel_size_mm=geometry.voxel_size_mm,
        section_fits=tuple(fits[i] for i in range(n_sections)),
        gains=(1.0,) * n_sections,
    )
    if settings is not None:
        require_backend(settings.backend)
        image, mask = samples.stack()
        grid = geometry.stack_grid
        log_bias_field = bias.log_bias_field(grid.size, start=grid.start, step=grid.step)
        corrected = correct_block(image, log_bias_field)
        fit = _fit(corrected, mask, grid, geometry.voxel_size_mm, (0, 0, 0), settings)
        logger.info("stack: %s", _outcome(fit))
        bias = BiasModel(bias.sections, bias.voxel_size_mm, bias.section_fits, bias.gains, fit)
    bias.save(output)


def _fit(
    image: NDArray[np.float32],
    mask: NDArray[np.bool_],
    grid: SampleGrid,
    voxel_size_mm: tuple[float, float, float],
    offset: tuple[int, int, int],
    settings: FitSettings,
) -> dict[str, Any] | None:
    fit = fit_log_bias_field(
        image,
        mask,
        n_control_points=n_control_points(grid.shape, voxel_size_mm, settings.spline_distance_mm),
        n_iterations=settings.n_iterations,
        origin_mm=grid.origin_mm(voxel_size_mm, offset),
        spacing_mm=grid.spacing_mm(voxel_size_mm),
        backend=settings.backend,
        workers=settings.workers,
    )
    return fit.to_dict() if fit.n_voxels else None


def _outcome(fit: Mapping[str, Any] | None) -> str:
    if fit is None:
        return "no tissue, not fitted"
    return "iterations " + ", ".join(str(level["iterations"]) for level in fit["levels"])
