"""CORRECT: a slab of planes divided by its field, with the coarser levels that can be built from it alone.

The slab goes through file by file of the result, so that memory holds about a file of each level, however large a plane
is; within a file in runs of a chunk's planes. One run is read ahead while another is corrected, and a file is encoded
while the next one is made.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linumpy.intensity.bias_model import BiasModel, write_json
from linumpy.intensity.correction import Clipped, FieldDivider, cast_block
from linumpy.io.chunks import missing_files
from linumpy.io.ome_zarr import Image
from linumpy.io.pyramid import PyramidLayout
from linumpy.io.writer import PyramidBuilder, create_pyramid
from linumpy.stage.progress import Progress
from linumpy.stage.samples import damaged
from linumpy.stage.spool import DECODINGS, PlaneSpool, Region, decodings
from linumpy.stage.statistics import SlabStatistics

__all__ = ["CORRECTED", "FIELD", "CorrectionSettings", "correct_slab", "field_layout"]

logger = logging.getLogger(__name__)

CORRECTED = "corrected.ome.zarr"
FIELD = "bias_field.ome.zarr"
Read = Callable[[int, int, slice, slice], NDArray[Any]]


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
    offset : float
        Subtracted first.
    """

    strength: float
    zero_outside_mask: bool
    save_bias_field: bool
    offset: float = 0.0


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
    *,
    workers: int = 1,
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
    workers : int
        Threads that correct; reading and writing have the threads of `configure_codecs`. They change no bit.
    """
    require_files(mask.path, missing_files(mask))
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
    progress = Progress(
        logger, f"planes {z_start} to {z_stop}", (z_stop - z_start) * image.shape[1] * image.shape[2], "voxels"
    )
    regions = list(builders[CORRECTED].blocks())
    depth = -(-layout.levels[0].chunks[0] // image.chunks[0]) * image.chunks[0]

    def write(region: Region, volumes: dict[str, NDArray[Any]]) -> None:
        z, y, x = (axis.start for axis in region)
        for name, volume in volumes.items():
            builders[name].add(z, y, x, volume)

    with (
        contextlib.ExitStack() as stack,
        ThreadPoolExecutor(1) as reading,
        ThreadPoolExecutor(workers) as correcting,
        ThreadPoolExecutor(1) as writing,
    ):
        read: Read = image.read
        if decodings(image, regions) > DECODINGS:
            logger.info("the image's chunks %s are wider than the result's files: planes are spooled", image.chunks)
            read = stack.enter_context(PlaneSpool(image, z_start, z_stop, output / "planes.raw")).read
        runs = _read_ahead(read, mask, regions, depth, reading)
        written: Future[None] | None = None
        for region in regions:
            volumes, region_clipped = _correct_region(runs, bias, layout, settings, region, statistics, correcting)
            clipped += region_clipped
            if written is not None:
                written.result()
            written = writing.submit(write, region, volumes)
            progress.advance(volumes[CORRECTED].size)
        if written is not None:
            written.result()
    for builder in builders.values():
        builder.close()
    write_json(
        output / "slab.json",
        {
            "z_start": z_start,
            "z_stop": z_stop,
            "planes": statistics.planes() | {"checksum": statistics.checksums.tolist()},
            "histogram": statistics.histogram(),
            "clipped": {"clipped_low": clipped.low, "clipped_high": clipped.high},
            "layout": layout.to_dict(),
            "n_levels": n_levels,
            "match": bias.match,
            "digests": {
                name: [digest.files for digest in builder.writer.digests] for name, builder in builders.items()
            },
        },
    )
    np.savez(output / "pictures.npz", allow_pickle=False, **statistics.pictures())


def require_files(store: Path, n_missing: int) -> None:
    """Refuse what an earlier task left where chunk files are gone: they would read as zeros without a word.

    Raises
    ------
    ValueError
        If any are missing.
    """
    if n_missing:
        raise damaged(store, f"{n_missing} of its chunk files are gone")


def field_layout(layout: PyramidLayout) -> PyramidLayout:
    """Return the layout of the bias field's image: that of the corrected one, in float32."""
    return dataclasses.replace(layout, dtype="float32")


def _read_ahead(
    read_image: Read, mask: Image, regions: Sequence[Region], depth: int, executor: Executor
) -> Iterator[tuple[int, NDArray[Any], NDArray[np.bool_]]]:
    """Yield first plane, voxels and mask of each run of planes of each region, the next being read meanwhile."""

    def read(region: Region, z_start: int) -> tuple[int, NDArray[Any], NDArray[np.bool_]]:
        planes, rows, columns = region
        z_stop = min(z_start + depth, planes.stop)
        return (
            z_start,
            read_image(z_start, z_stop, rows, columns),
            mask.read(z_start, z_stop, rows, columns) != 0,
        )

    ahead: Future[tuple[int, NDArray[Any], NDArray[np.bool_]]] | None = None
    for region in regions:
        for z_start in range(region[0].start, region[0].stop, depth):
            following = executor.submit(read, region, z_start)
            if ahead is not None:
                yield ahead.result()
            ahead = following
    if ahead is not None:
        yield ahead.result()


def _correct_region(
    runs: Iterator[tuple[int, NDArray[Any], NDArray[np.bool_]]],
    bias: BiasModel,
    layout: PyramidLayout,
    settings: CorrectionSettings,
    region: Region,
    statistics: SlabStatistics,
    executor: Executor,
) -> tuple[dict[str, NDArray[Any]], Clipped]:
    """Correct and describe the voxels of one file of level 0, as they come by; return what is to be written."""
    planes, rows, columns = region
    shape = tuple(axis.stop - axis.start for axis in region)
    divider = FieldDivider(bias, (rows.start, rows.stop), (columns.start, columns.stop), executor)
    written = np.empty(shape, layout.dtype)
    clipped = Clipped()
    done = planes.start
    while done < planes.stop:
        z_start, block, tissue = next(runs)
        done = z_start + len(block)
        run = written[z_start - planes.start : done - planes.start]
        result = run if run.dtype == np.float32 else np.empty(run.shape, np.float32)
        keep = tissue if settings.zero_outside_mask else None
        divider.divide(block, z_start, result, strength=settings.strength, keep=keep, offset=settings.offset)
        if result is not run:
            run[:], run_clipped = cast_block(result, run.dtype)
            clipped += run_clipped
        statistics.add((z_start, rows.start, columns.start), block, run, tissue)
    volumes = {CORRECTED: written}
    if settings.save_bias_field:
        volumes[FIELD] = divider.bias_field(planes.start, planes.stop)
    return volumes, clipped
