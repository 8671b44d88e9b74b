"""The page that shows candidates of settings side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from linumpy.qc import figures
from linumpy.qc.report import page_environment

if TYPE_CHECKING:
    from linumpy.stage.tune import Tuning

__all__ = ["render_tuning"]

Pictures = Mapping[str, NDArray[np.float32]]


def render_tuning(tuning: Tuning, tuned: Mapping[str, Any], name: str, voxel_size_mm: Sequence[float]) -> str:
    """Return the candidates of an acquisition as one self-contained HTML page.

    Parameters
    ----------
    tuning : Tuning
        Figures and pictures of the volume as it is and of every candidate.
    tuned : mapping
        All parameters with what the recommended candidate changes.
    name : str
        Of the acquisition.
    voxel_size_mm : sequence of float
        (z, y, x) of the volume that was tried on.

    Returns
    -------
    str
        A complete HTML document: equal input, equal bytes.
    """
    # One intensity scale for all: what is brighter is brighter.
    white = float(np.percentile(np.nan_to_num(tuning.pictures_before["yx"]), 99.8)) or 1.0
    # And one scale of the fields, around the median of each picture.
    spreads = [np.abs(field - np.median(field)) for c in tuning.candidates for field in c.fields.values()]
    limit = max(float(np.percentile(np.concatenate([np.ravel(spread) for spread in spreads]), 99.5)), 0.01)
    rows: list[dict[str, Any]] = [
        {
            "name": "uncorrected",
            "parameters": [],
            "figures": tuning.before,
            "better": False,
            "pictures": tuning.pictures_before,
        }
    ]
    rows += [
        {
            "name": candidate.name,
            "parameters": [f"{key}: {json.dumps(value)}" for key, value in candidate.parameters.items()],
            "figures": candidate.figures,
            "better": candidate.better,
            "pictures": candidate.pictures,
            "fields": candidate.fields,
        }
        for candidate in tuning.candidates
    ]
    for row in rows:
        row["pictures"] = _encoded(row["pictures"], 0.0, white, figures.grey_palette(), voxel_size_mm)
        fields = {axes: field - np.median(field) for axes, field in row.pop("fields", {}).items()}
        row["fields"] = _encoded(fields, -limit, limit, figures.field_palette(), voxel_size_mm)
    page = page_environment().get_template("tuning.html.j2")
    return page.render(
        name=name,
        rows=rows,
        recommended=tuning.candidates[tuning.recommended].name,
        defaults=tuning.candidates[0].name,
        limit=limit,
        draws=tuning.draws,
        parameters=json.dumps(tuned, indent=1, sort_keys=True),
    )


def _encoded(
    pictures: Pictures, low: float, high: float, palette: NDArray[np.uint8], voxel_size_mm: Sequence[float]
) -> list[dict[str, Any]]:
    size = dict(zip("zyx", voxel_size_mm, strict=True))
    return [
        {
            "axes": "XY" if axes == "yx" else f"{axes[1].upper()}Z",
            "uri": figures.to_data_uri(picture, low, high, palette),
            # Thin stacks are stretched along Z, so that the saw-tooth can be seen.
            "ratio": max(0.3, picture.shape[0] * size[axes[0]] / (picture.shape[1] * size[axes[1]])),
        }
        for axes, picture in sorted(pictures.items())
    ]
