"""What metadata may claim: bounds far beyond any image, so that none makes a check, or a task, run out of memory.

A few bytes of JSON can say that an array has 10^12 chunks, or that one of them holds 64 GiB. Whoever believes it lists
and allocates until the node dies. What is refused here is named before anything is made of its size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from linumpy.io.errors import OmeZarrError

__all__ = ["METADATA_FILES", "check_array", "check_length", "check_metadata_files", "path_within"]

METADATA_FILES = ("zarr.json", ".zgroup", ".zattrs", ".zarray")
METADATA_BYTES = 8 << 20
"""Largest metadata file; parsed, it takes some fifty times as much at worst."""
ENTRIES = 100
"""Most levels, axes or transformations."""
AXIS_VOXELS = 4_000_000
VOXELS = 10**14
CHUNKS = 20_000_000
"""Most chunks of a volume: 10 TB of uint16 in chunks of 64 x 64 x 64."""
CHUNKS_IN_SHARD = 1_000_000
CHUNK_BYTES = 4 << 30


def check_metadata_files(folder: Path) -> None:
    """Refuse a group or an array with a metadata file that is too large to be read.

    Raises
    ------
    OmeZarrError
        Naming the file and its size.
    """
    for name in METADATA_FILES:
        file = folder / name
        size = file.stat().st_size if file.is_file() else 0
        if size > METADATA_BYTES:
            raise OmeZarrError(
                file,
                f"metadata of {size:,} bytes; at most {METADATA_BYTES:,} are read: what is this long is no image's",
            )


def check_length(path: Path, what: str, entries: object) -> None:
    """Refuse a list of the metadata that is too long, before every entry of it is looked at."""
    if isinstance(entries, list) and len(entries) > ENTRIES:
        raise OmeZarrError(path, f"{len(entries):,} {what} in the metadata; at most {ENTRIES} are read")


def path_within(group: Path, path: str) -> str:
    """Return a path that metadata names in a group; one that leads out of it is refused."""
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise OmeZarrError(group, f"the path {path!r} in the metadata leads out of the image; name a folder inside it")
    return path


def check_array(
    path: Path, shape: Sequence[int], grid: Sequence[int], chunk: Sequence[int], per_shard: int, itemsize: int
) -> None:
    """Refuse an array whose claimed sizes nothing can be made of.

    Parameters
    ----------
    path : Path
        The array.
    shape, grid : (int, int, int)
        Voxels of the volume, and of one chunk of it.
    chunk : sequence of int
        Voxels of a chunk along all dimensions of the array.
    per_shard : int
        Chunks of a shard, 1 where there are none.
    itemsize : int
        Bytes of a voxel.

    Raises
    ------
    OmeZarrError
        Naming the size claimed and the most that is allowed.
    """
    volume = " x ".join(f"{n:,}" for n in shape)
    if max(shape) > AXIS_VOXELS or math.prod(shape) > VOXELS:
        raise OmeZarrError(
            path,
            f"the metadata claims {volume} voxels (z, y, x); at most {AXIS_VOXELS:,} along an axis and {VOXELS:.0e} "
            "in all are handled: correct the shape",
        )
    n_bytes = math.prod(chunk) * itemsize
    if n_bytes > CHUNK_BYTES:
        raise OmeZarrError(
            path,
            f"a chunk of {' x '.join(f'{n:,}' for n in chunk)} voxels takes {n_bytes / 2**30:,.0f} GiB of memory, and "
            f"every task decodes whole chunks; at most {CHUNK_BYTES >> 30} GiB are handled: write smaller chunks",
        )
    n_chunks = math.prod(-(-n // c) for n, c in zip(shape, grid, strict=True))
    if n_chunks > CHUNKS:
        raise OmeZarrError(
            path,
            f"the metadata claims {n_chunks:,} chunks of {' x '.join(map(str, grid))} voxels; at most {CHUNKS:,} are "
            "handled: correct the shape, or write larger chunks",
        )
    if per_shard > CHUNKS_IN_SHARD:
        raise OmeZarrError(
            path, f"a shard of {per_shard:,} chunks; at most {CHUNKS_IN_SHARD:,} are handled: write larger chunks"
        )
