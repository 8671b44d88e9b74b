"""MATCH_BATCH: one brightness for the acquisitions of a run.

The level of an acquisition is the median of its tissue after correction. The common level is the median of the
logarithms of these levels, so that neither one odd acquisition nor a few move it; every acquisition gets one factor.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from linumpy.intensity.bias_model import MATCH_FILE, BiasModel, read_json, write_json
from linumpy.intensity.correction import correct_block
from linumpy.stage.samples import Samples

__all__ = ["match_levels", "tissue_level", "write_level", "write_matches"]

logger = logging.getLogger(__name__)


def tissue_level(samples: Samples, bias: BiasModel) -> float | None:
    """Return the median intensity of the corrected tissue, as the stack's samples tell it.

    Parameters
    ----------
    samples : Samples
        Samples of the acquisition.
    bias : BiasModel
        Its whole field.

    Returns
    -------
    float or None
        Above 0; None where no sample of the tissue is finite and positive.
    """
    grid = samples.geometry.stack_grid
    image, mask = samples.stack()
    corrected = correct_block(image, bias.log_bias_field(grid.size, start=grid.start, step=grid.step))
    tissue = corrected[mask & np.isfinite(corrected) & (corrected > 0)]
    return float(np.median(tissue)) if tissue.size else None


def match_levels(acquisitions: Sequence[str], levels: Mapping[str, float | None]) -> dict[str, dict[str, Any]]:
    """Give every acquisition the factor that brings it to the common level.

    Parameters
    ----------
    acquisitions : sequence of str
        Names of all acquisitions of the run.
    levels : mapping of str to float or None
        Level of the tissue of those whose field is known; None for one without tissue.

    Returns
    -------
    dict of str to dict
        For each name of `levels`: its ``level``; ``common_level``, the geometric median of the levels; ``factor``, 1
        where the level is None; ``n_matched``, how many have a level; ``left_out``, the names of those that have none,
        since they failed or hold no tissue.

    Examples
    --------
    >>> matches = match_levels(["a", "b", "c"], {"a": 50.0, "b": 200.0, "c": 100.0})
    >>> {name: round(match["factor"], 6) for name, match in matches.items()}
    {'a': 2.0, 'b': 0.5, 'c': 1.0}
    """
    known = {name: level for name, level in sorted(levels.items()) if level is not None}
    common = float(np.exp(np.median(np.log(list(known.values()))))) if known else None
    # Alone it stays to the bit what it is without matching.
    factors = {name: common / level if common and len(known) > 1 else 1.0 for name, level in known.items()}
    return {
        name: {
            "level": levels[name],
            "common_level": common,
            "factor": factors.get(name, 1.0),
            "n_matched": len(known),
            "left_out": sorted({*acquisitions} - known.keys()),
        }
        for name in sorted(levels)
    }


def write_level(samples: Samples, bias: BiasModel, output: Path) -> None:
    """Write the level of an acquisition, ``{"level": ...}``."""
    output.parent.mkdir(parents=True, exist_ok=True)
    write_json(output, {"level": tissue_level(samples, bias)})


def write_matches(acquisitions: Sequence[str], levels: Sequence[Path], output: Path) -> None:
    """Write how each acquisition is matched.

    Parameters
    ----------
    acquisitions : sequence of str
        Names of all acquisitions of the run.
    levels : sequence of Path
        ``NAME.json`` of each acquisition whose field is known, in any order, as :func:`write_level` wrote them.
    output : Path
        Folder, gets ``NAME/bias/match.json`` of each of them.
    """
    found = {path.name.removesuffix(".json"): read_json(path)["level"] for path in levels}
    for name, match in match_levels(acquisitions, found).items():
        logger.info("%s: level %s, factor %.6g", name, match["level"], match["factor"])
        folder = output / name / "bias"
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / MATCH_FILE, match)
