"""What is stored of the volumes that a row names, looked at before a voxel is read."""

from __future__ import annotations

import math
from typing import Any

from linumpy.io.chunks import MissingChunks, missing_chunks, require_chunks
from linumpy.io.errors import OmeZarrError
from linumpy.io.ome_zarr import Image
from linumpy.printable import listed

__all__ = ["checked_chunks", "link_warnings"]

MAX_PLANES = 1_000_000
MAX_PLANE_VOXELS = 2**32
"""Larger volumes are not planned for: metadata that tells of them is most often broken."""
MAX_CHUNK_BYTES = 2**32
"""A chunk is decoded whole."""
SHOWN_LINKS = 3
"""Symbolic links to nothing that a message names."""


def checked_chunks(volume: Image, policy: str) -> MissingChunks:
    """Return which chunks of a volume are not stored.

    Parameters
    ----------
    volume : Image
        The level that the tasks read.
    policy : {"warn", "error"}
        Parameter ``missing_chunks``.

    Raises
    ------
    ValueError
        If the metadata tells of more than can be dealt with; if no chunk is stored; if any is not and the policy
        is "error".
    """
    if volume.shape[0] > MAX_PLANES or volume.shape[1] * volume.shape[2] > MAX_PLANE_VOXELS:
        raise OmeZarrError(
            volume.array_path,
            f"the metadata tells of {volume.shape[0]} planes of {volume.shape[1]} x {volume.shape[2]} voxels, more "
            f"than {MAX_PLANES} planes or {MAX_PLANE_VOXELS} voxels in one; correct it, or cut the image into parts",
        )
    n_bytes = math.prod(volume.chunks) * volume.dtype.itemsize
    if n_bytes > MAX_CHUNK_BYTES:
        raise OmeZarrError(
            volume.array_path,
            f"the metadata tells of chunks of {volume.chunks} voxels (z, y, x), {n_bytes} bytes each, more than "
            f"{MAX_CHUNK_BYTES}; correct it, or write the image with smaller chunks",
        )
    missing = missing_chunks(volume)
    require_chunks(volume, missing)
    if missing.n_missing and policy == "error":
        raise ValueError(
            f"{missing.n_missing} of {missing.n_chunks} chunks are not there and read as the fill value"
            f"{_told_links(missing)}; copy the store again, or let them pass with --missing_chunks warn"
        )
    return missing


def link_warnings(column: str, missing: MissingChunks) -> list[dict[str, Any]]:
    """Return what the report says of chunk files that are symbolic links to nothing: no writer leaves chunks out so."""
    if not missing.links:
        return []
    message = f"chunks of the {column} are read as the fill value{_told_links(missing)}; copy the files themselves"
    return [{"code": "missing_chunks", "message": message, "section": None}]


def _told_links(missing: MissingChunks) -> str:
    if not missing.links:
        return ""
    return f" (symbolic links to nothing: {listed(missing.links, SHOWN_LINKS)})"
