"""TUNE: candidates of settings on a small stand-in, and what a person needs to choose among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from linumpy.gpu import require_gpu
from linumpy.intensity.bias_model import write_json
from linumpy.intensity.sections import Sections
from linumpy.io.given_mask import tissue_of
from linumpy.io.ome_zarr import Image
from linumpy.plan.preview import in_voxels_of
from linumpy.qc.tuning import render_tuning
from linumpy.stage.local import CorrectionParameters
from linumpy.stage.tune import CANDIDATES, tune

__all__ = ["write_tuning"]

MAX_SHRINK = 64
"""The largest that ``nextflow_schema.json`` takes: a recommendation is a parameter file."""


def write_tuning(
    image: Image,
    given_mask: Image | None,
    sections: Sections,
    parameters: Mapping[str, Any],
    factors: tuple[float, float, float],
    *,
    name: str,
    workers: int,
    output: Path,
) -> None:
    """Try the candidates and write ``tuning.html``, ``tuning.json`` and ``tuned_parameters.json``.

    Parameters
    ----------
    image, given_mask : Image
        Stand-in of the acquisition, and of a mask to use instead of finding one. Read whole.
    sections : tuple of (int, int)
        Planes of each section of the stand-in.
    parameters : mapping
        The pipeline's parameters that `CorrectionParameters` has; those in voxels are in voxels of the full image.
    factors : tuple of float
        Voxels of the full image per voxel of the stand-in (z, y, x).
    name : str
        Of the acquisition.
    workers : int
        Threads.
    output : Path
        Folder, made.

    Raises
    ------
    ValueError
        If the parameters ask for a GPU that is not there.
    """
    require_gpu(parameters["backend"])
    candidates = CANDIDATES
    if given_mask is not None:
        candidates = tuple(entry for entry in CANDIDATES if "mask_method" not in entry[1])
    found = tune(
        image.read(),
        sections,
        image.voxel_size_mm,
        CorrectionParameters.of(in_voxels_of(parameters, factors), workers=workers),
        candidates,
        mask=None if given_mask is None else tissue_of(given_mask.read()),
    )
    output.mkdir(parents=True)
    recommended = found.candidates[found.recommended]
    write_json(
        output / "tuning.json",
        {
            "acquisition": name,
            "before": found.before,
            "candidates": [
                {"name": c.name, "parameters": c.parameters, "figures": c.figures, "better": c.better}
                for c in found.candidates
            ],
            "recommended": recommended.name,
        },
    )
    tuned = {**parameters, **_of_full_image(recommended.parameters, factors)}
    write_json(output / "tuned_parameters.json", tuned)
    page = render_tuning(found, tuned, name, image.voxel_size_mm)
    (output / "tuning.html").write_text(page, encoding="utf-8")


def _of_full_image(changes: Mapping[str, Any], factors: Sequence[float]) -> dict[str, Any]:
    """Return what a candidate changes; the only one in voxels, the shrink factor, in those of the full image."""
    if "shrink_factor" not in changes:
        return dict(changes)
    shrink = [min(round(n * factor), MAX_SHRINK) for n, factor in zip(changes["shrink_factor"], factors, strict=True)]
    return {**changes, "shrink_factor": shrink}
