"""ASSEMBLE: the slabs of an acquisition become one OME-Zarr, without writing their voxels again.

Chunk files are hard-linked (copied where links do not work). What no slab could build, the coarse levels that span
slabs, is built here from the coarsest level that is whole.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linumpy.intensity.bias_model import read_json, write_json
from linumpy.io.assemble import LinkCounts, assemble_chunks
from linumpy.io.digest import geometry_digest
from linumpy.io.ome_zarr import Image, open_image
from linumpy.io.pyramid import PyramidLayout
from linumpy.io.writer import PyramidBuilder, PyramidWriter, create_pyramid, finish_pyramid
from linumpy.stage.correct import CORRECTED, FIELD, field_layout, require_files
from linumpy.stage.statistics import histogram_percentiles

__all__ = ["assemble"]

logger = logging.getLogger(__name__)

WINDOW_PERCENTILES = (0.0, 0.5, 99.8, 100.0)
"""Of the corrected voxels: min, start, end and max of the display window."""


def assemble(image: Image, slabs: Sequence[Path], output_folder: Path, output_statistics: Path) -> None:
    """Join the slabs that CORRECT left.

    Parameters
    ----------
    image : Image
        The image that was corrected, for its name, channel and origin.
    slabs : sequence of Path
        Folders of all slabs, in any order.
    output_folder : Path
        Gets ``corrected.ome.zarr`` and, where slabs hold it, ``bias_field.ome.zarr``.
    output_statistics : Path
        Folder, made: ``correction.json`` and ``pictures.npz`` of the whole.

    Raises
    ------
    ValueError
        If the slabs do not cover the volume, or one lacks files.
    """
    parts = sorted(((read_json(slab / "slab.json"), slab) for slab in slabs), key=lambda part: part[0]["z_start"])
    layout = PyramidLayout.from_dict(parts[0][0]["layout"])
    bounds = [(part["z_start"], part["z_stop"]) for part, _ in parts]
    _require_whole(bounds, layout.shape[0])
    percentiles = histogram_percentiles([part["histogram"] for part, _ in parts], WINDOW_PERCENTILES)
    output_folder.mkdir(parents=True, exist_ok=True)
    digests: dict[str, str] = {}
    for name in (CORRECTED, FIELD):
        stores = [slab / name for _, slab in parts]
        if not stores[0].exists():
            continue
        store_layout = layout if name == CORRECTED else field_layout(layout)
        writer = create_pyramid(output_folder / name, store_layout)
        placed = LinkCounts(0, 0)
        for (part, _), store in zip(parts, stores, strict=True):
            counts = assemble_chunks([store], writer.path)
            require_files(store, sum(map(len, part["digests"][name])) - counts.linked - counts.copied)
            placed += counts
        logger.info("%s: %d files linked, %d copied", name, placed.linked, placed.copied)
        _build_coarse_levels(writer, parts[0][0]["n_levels"])
        for level, digest in enumerate(writer.digests):
            for part, _ in parts:
                digest.files |= part["digests"][name][level]
            digests[f"{name}/{digest.level.path}"] = digest.hexdigest()
        if name == CORRECTED:
            finish_pyramid(
                writer.path,
                layout,
                name=image.name,
                window=dict(zip(("min", "start", "end", "max"), percentiles, strict=True)),
                omero_channel=image.omero_channel,
                processing={"match_batch": match} if (match := parts[0][0]["match"]) else None,
            )
        else:
            finish_pyramid(writer.path, store_layout, name=f"{image.name} bias field")
        digests[f"{name}/geometry"] = geometry_digest(open_image(writer.path, validate=False))
    output_statistics.mkdir(parents=True)
    write_json(
        output_statistics / "correction.json",
        {
            "planes": {
                key: [value for part, _ in parts for value in part["planes"][key]] for key in parts[0][0]["planes"]
            },
            "clipped": {key: sum(part["clipped"][key] for part, _ in parts) for key in parts[0][0]["clipped"]},
            "window": percentiles,
            "digests": digests,
        },
    )
    np.savez(
        output_statistics / "pictures.npz",
        allow_pickle=False,
        **_joined_pictures([slab for _, slab in parts]),
    )


def _require_whole(bounds: Sequence[tuple[int, int]], n_planes: int) -> None:
    reached = 0
    for z_start, z_stop in bounds:
        if z_start != reached:
            raise ValueError(f"the slabs leave planes {reached} to {z_start} out; all are needed before assembly")
        reached = z_stop
    if reached != n_planes:
        raise ValueError(f"the slabs end at plane {reached} of {n_planes}; all are needed before assembly")


def _build_coarse_levels(writer: PyramidWriter, n_levels: int) -> None:
    """Build the levels that span slabs from the coarsest that does not."""
    if n_levels == len(writer.layout.levels):
        return
    builder = PyramidBuilder(writer, source_level=n_levels - 1)
    for region in builder.blocks():
        z, y, x = (axis.start for axis in region)
        builder.add(z, y, x, writer.read_block(n_levels - 1, region))
    builder.close()


def _joined_pictures(slabs: Sequence[Path]) -> dict[str, NDArray[Any]]:
    """Join the slabs' parts of the pictures along Z; the picture of the middle plane lies in one slab."""
    parts = []
    for slab in slabs:
        with np.load(slab / "pictures.npz") as stored:
            parts.append(dict(stored))
    names = sorted({name for part in parts for name in part})
    return {name: np.concatenate([part[name] for part in parts if name in part]) for name in names}
