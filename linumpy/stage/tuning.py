"""TUNE: candidates of settings on a small stand-in, and what a person needs to choose among them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from linumpy.intensity.bias_model import write_json
from linumpy.intensity.sections import Sections
from linumpy.io.ome_zarr import Image
from linumpy.qc.tuning import render_tuning
from linumpy.stage.local import CorrectionParameters
from linumpy.stage.tune import CANDIDATES, tune

__all__ = ["write_tuning"]


def write_tuning(
    image: Image,
    given_mask: Image | None,
    sections: Sections,
    parameters: Mapping[str, Any],
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
        The pipeline's parameters that `CorrectionParameters` has; "auto" chooses from the data.
    name : str
        Of the acquisition.
    workers : int
        Threads.
    output : Path
        Folder, made.
    """
    given: dict[str, Any] = {key: None if value == "auto" else value for key, value in parameters.items()}
    for key in ("n_iterations", "shrink_factor"):
        if given[key] is not None:
            given[key] = tuple(given[key] * 3 if key == "shrink_factor" and len(given[key]) == 1 else given[key])
    candidates = CANDIDATES
    if given_mask is not None:
        candidates = tuple(entry for entry in CANDIDATES if "mask_method" not in entry[1])
    found = tune(
        image.read(),
        sections,
        image.voxel_size_mm,
        CorrectionParameters(**given, workers=workers),
        candidates,
        mask=None if given_mask is None else given_mask.read() != 0,
    )
    output.mkdir(parents=True)
    recommended = found.candidates[found.recommended]
    write_json(
        output / "tuning.json",
        {
            "acquisition": name,
            "before": found.before,
            "candidates": [
                {"name": c.name, "parameters": c.parameters, "figures": c.figures} for c in found.candidates
            ],
            "recommended": recommended.name,
        },
    )
    tuned = {**parameters, **recommended.parameters}
    write_json(output / "tuned_parameters.json", tuned)
    page = render_tuning(found, tuned, name, image.voxel_size_mm)
    (output / "tuning.html").write_text(page, encoding="utf-8")
