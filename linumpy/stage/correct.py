"""CORRECT: a slab of planes divided by its field, with the coarser levels that can be built from it alone.

The slab goes through file by file of the result, so that memory holds about a file of each level, however large a plane
is; within a file in runs of a chunk's planes.
"""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linumpy.intensity.bias_model import BiasModel, write_json
from linumpy.intensity.correction import Clipped, cast_block, correct_block
from linumpy.io.ome_zarr import Image
from linumpy.io.pyramid import PyramidLayout
from linumpy.io.writer import PyramidBuilder, create_pyramid
from linumpy.stage.progress import Progress
from linumpy.stage.statistics import SlabStatistics

__all__ = ["CORRECTED", "FIELD", "CorrectionSettings", "correct_slab", "field_layout"]

logger = logging.getLogger(__name__)

CORRECTED = "corrected.ome.zarr"
FIELD = "bias_field.ome.zarr"


@dataclass(frozen=True)
class CorrectionSettings:
    """What is done to the voxels.

    Parameters
    ----------
    strength : float
        1 corrected, 0 original, between them a mixture.
    zero_outside_mask : bool
        Set voxels outside the mask to 0.
    save_bias_field : bool
        Also write the field.
    """

    strength: float
    zero_outside_mask: bool
    save_bias_field: bool


def correct_slab(
    image: Image,
    mask: Image,
    bias: BiasModel,
    layout: PyramidLayout,
    settings: CorrectionSettings,
    z_start: int,
    z_stop: int,
    n_levels: int,
    output: Path,
) -> None:
    """Correct the planes ``z_start <= z < z_stop`` and write their chunks and statistics.

    Parameters
    ----------
    image, mask : Image
        The image and its tissue mask, level 0.
    bias : BiasModel
        The whole field.
    layout : PyramidLayout
        Of the result; its type is the result's.
    settings : CorrectionSettings
        What is done to the voxels.
    z_start, z_stop : int
        Whole rows of files of the levels that are written.
    n_levels : int
        Levels to write; the coarser ones span slabs.
    output : Path
        Folder, made: the slab's part of ``corrected.ome.zarr`` (and of ``bias_field.ome.zarr``), ``slab.json`` and
        ``pictures.npz``.
    """
    output.mkdir(parents=True)
    layouts = {CORRECTED: layout}
    if settings.save_bias_field:
        layouts[FIELD] = field_layout(layout)
    builders = {
        name: PyramidBuilder(create_pyramid(output / name, layout), z_start, z_stop, n_levels=n_levels)
        for name, layout in layouts.items()
    }
    statistics = SlabStatistics(image.shape, z_start, z_stop)
    clipped = Clipped()
    planes = f"planes {z_start} to {z_stop}"
    progress = Progress(logger, planes, (z_stop - z_start) * image.shape[1] * image.shape[2], "voxels")
    for region in builders[CORRECTED].blocks():
        corrected, fields, region_clipped = _correct_region(image, mask, bias, layout, settings, region, statistics)
        clipped += region_clipped
        z, y, x = (axis.start for axis in region)
        builders[CORRECTED].add(z, y, x, corrected)
        if fields is not None:
            builders[FIELD].add(z, y, x, fields)
        progress.advance(corrected.size)
    for builder in builders.values():
        builder.close()
    write_json(
        output / "slab.json",
        {
            "z_start": z_start,
            "z_stop": z_stop,
            "planes": statistics.planes(),
            "histogram": statistics.histogram(),
            "clipped": {"clipped_low": clipped.low, "clipped_high": clipped.high},
            "layout": layout.to_dict(),
            "n_levels": n_levels,
            "digests": {
                name: [digest.files for digest in builder.writer.digests] for name, builder in builders.items()
            },
        },
    )
    np.savez(output / "pictures.npz", allow_pickle=False, **statistics.pictures())


def field_layout(layout: PyramidLayout) -> PyramidLayout:
    """Return the layout of the bias field's image: that of the corrected one, in float32."""
    return dataclasses.replace(layout, dtype="float32")


def _correct_region(
    image: Image,
    mask: Image,
    bias: BiasModel,
    layout: PyramidLayout,
    settings: CorrectionSettings,
    region: tuple[slice, slice, slice],
    statistics: SlabStatistics,
) -> tuple[NDArray[Any], NDArray[np.float32] | None, Clipped]:
    """Read, correct and describe the voxels of one file of level 0."""
    planes, rows, columns = region
    corrected = np.empty([axis.stop - axis.start for axis in region], layout.dtype)
    fields = np.empty(corrected.shape, np.float32) if settings.save_bias_field else None
    clipped = Clipped()
    depth = layout.levels[0].chunks[0]
    for z_start in range(planes.start, planes.stop, depth):
        z_stop = min(z_start + depth, planes.stop)
        start = (z_start, rows.start, columns.start)
        at = slice(z_start - planes.start, z_stop - planes.start)
        block = image.read(z_start, z_stop, rows, columns)
        tissue = mask.read(z_start, z_stop, rows, columns) != 0
        log_bias_field = bias.log_bias_field(block.shape, start=start)
        if fields is not None:
            fields[at] = np.exp(log_bias_field)
        keep = tissue if settings.zero_outside_mask else None
        result = correct_block(block, log_bias_field, strength=settings.strength, keep=keep)
        statistics.add(start, block, result, tissue)
        corrected[at], block_clipped = cast_block(result, layout.dtype)
        clipped += block_clipped
    return corrected, fields, clipped
