"""What is stored of an image, told without decoding it: missing chunks, and whether anything has changed.

A chunk that is not stored reads as the fill value: legal Zarr where voxels are all zero, and what a broken
copy looks like. `missing_chunks` finds them, inside shards too; whether they are a fault is for the caller to
say. `fingerprint` tells two states of a store apart by its metadata and the names, sizes and times of its
files; it never reads a chunk.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec

from linumpy.io.claims import METADATA_FILES, check_metadata_files
from linumpy.io.errors import OmeZarrError
from linumpy.io.metadata import read_image_metadata
from linumpy.io.ome_zarr import Image

__all__ = ["MissingChunks", "fingerprint", "missing_chunks", "missing_files"]

_ABSENT = np.uint64(2**64 - 1)  # offset and size, in a shard's index, of a chunk that is not stored


@dataclass(frozen=True, eq=False)
class MissingChunks:
    """Chunks of a volume that are not stored.

    Parameters
    ----------
    grid : (int, int, int)
        Chunks of the volume along Z, Y, X.
    indices : ndarray of shape (n, 3), int32
        Index (Z, Y, X) in the grid of each missing chunk, sorted.
    """

    grid: tuple[int, int, int]
    indices: np.ndarray[Any, np.dtype[np.int32]]

    @property
    def n_chunks(self) -> int:
        """Chunks of the volume."""
        return math.prod(self.grid)

    @property
    def n_missing(self) -> int:
        """Chunks that are not stored."""
        return len(self.indices)


def missing_chunks(image: Image) -> MissingChunks:
    """Find the chunks of a volume that are not stored.

    Parameters
    ----------
    image : Image
        Only chunks of its channel and timepoint are looked for.

    Returns
    -------
    MissingChunks
        In units of ``image.chunks``, also inside shards (unless the shards' index is itself encoded in an
        unusual way: then a shard that is there counts as whole).
    """
    array = image.array
    chunks = array.chunks
    files = array.shards or chunks
    per_file = [f // c for f, c in zip(files, chunks, strict=True)]
    wanted = [
        range(-(-n // c)) if d in image.dimensions else range(i // c, i // c + 1)
        for d, (n, c, i) in enumerate(zip(array.shape, chunks, image.selected, strict=True))
    ]
    file_ranges = [range(r.start // k, (r.stop - 1) // k + 1) for r, k in zip(wanted, per_file, strict=True)]
    index = _ShardIndex.of(image) if array.shards else None
    inner = np.indices(per_file).reshape(len(per_file), -1).T

    def missing() -> Iterator[tuple[int, int, int]]:
        z, y, x = image.dimensions
        for file_index, present in _files(image, file_ranges):
            if not array.shards:
                if not present:
                    yield file_index[z], file_index[y], file_index[x]
                continue
            if present and index is None:
                continue
            absent = inner[index.absent(image.chunk_file(file_index))] if present and index else inner
            found = absent + np.multiply(file_index, per_file)
            within = [(found[:, d] >= r.start) & (found[:, d] < r.stop) for d, r in enumerate(wanted)]
            yield from map(tuple, found[np.logical_and.reduce(within)][:, image.dimensions].tolist())

    # As numbers, not as objects: there may be millions.
    indices = np.fromiter(itertools.chain.from_iterable(missing()), np.int32).reshape(-1, 3)
    z, y, x = (len(wanted[d]) for d in image.dimensions)
    return MissingChunks((z, y, x), indices[np.lexsort(indices.T[::-1])])


def missing_files(image: Image) -> int:
    """Count the files of a level that are not there. What this package writes leaves none out."""
    grid = image.array.shards or image.array.chunks
    ranges = [range(-(-n // c)) for n, c in zip(image.array.shape, grid, strict=True)]
    return sum(not there for _, there in _files(image, ranges))


def _files(image: Image, ranges: Sequence[range]) -> Iterator[tuple[tuple[int, ...], bool]]:
    """Yield every file index and whether the file is there, from one listing of each folder."""
    encode = image.array.metadata.encode_chunk_key
    keys = ((index, encode(index).rpartition("/")) for index in itertools.product(*ranges))
    for folder, members in itertools.groupby(keys, lambda key: key[1][0]):
        try:
            there = set(os.listdir(image.array_path / folder))
        except (FileNotFoundError, NotADirectoryError):
            there = set()
        except OSError as error:
            raise OmeZarrError(image.array_path / folder, f"cannot be listed ({error.strerror})") from error
        for index, (_, _, name) in members:
            yield index, name in there


@dataclass(frozen=True)
class _ShardIndex:
    """Where a shard keeps the offsets and sizes of its chunks."""

    n_chunks: int
    n_bytes: int
    at_end: bool

    @classmethod
    def of(cls, image: Image) -> _ShardIndex | None:
        codecs: Sequence[Any] = getattr(image.array.metadata, "codecs", ())
        if len(codecs) != 1 or not isinstance(codecs[0], ShardingCodec):
            return None
        sharding = codecs[0]
        n_chunks = math.prod(image.array.shards or ()) // math.prod(image.array.chunks)
        kinds = [type(codec) for codec in sharding.index_codecs]
        if kinds not in ([BytesCodec], [BytesCodec, Crc32cCodec]):
            return None
        n_bytes = 16 * n_chunks + 4 * (len(kinds) - 1)
        return cls(
            n_chunks,
            n_bytes,
            str(getattr(sharding.index_location, "value", sharding.index_location)) == "end",
        )

    def absent(self, file: Path) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Tell for every chunk of a shard whether it is not stored."""
        try:
            with file.open("rb") as stream:
                size = stream.seek(0, os.SEEK_END)
                if size < self.n_bytes:
                    raise OmeZarrError(file, f"this shard is truncated: {size} bytes; copy the store again")
                stream.seek(size - self.n_bytes if self.at_end else 0)
                table = np.frombuffer(stream.read(16 * self.n_chunks), "<u8").reshape(-1, 2)
        except OSError as error:
            raise OmeZarrError(file, f"this shard cannot be read ({error.strerror})") from error
        return np.asarray((table == _ABSENT).all(axis=1))


def fingerprint(path: str | Path) -> str:
    """Tell whether a store has changed since an earlier run.

    Parameters
    ----------
    path : path-like
        An OME-Zarr image, as for `open_image`.

    Returns
    -------
    str
        SHA-256 (hexadecimal) over the metadata files of the group and its levels and over the sorted names, sizes and
        modification times of their chunks. Labels and tables beside the levels take no part; neither does
        where the store lies.

    Raises
    ------
    OmeZarrError
        If there is no image, or a level is missing or cannot be listed.

    Notes
    -----
    About 1.2 s for 100,000 files on a local disk. A copy that does not keep the times has another fingerprint.
    """
    path = Path(path)
    metadata = read_image_metadata(path)
    folders = [metadata.path, *(metadata.path / dataset.path for dataset in metadata.datasets)]
    digest = hashlib.sha256()
    for folder in folders:
        check_metadata_files(folder)
        for name in METADATA_FILES:
            file = folder / name
            if file.is_file():
                content = file.read_bytes()
                digest.update(f"{file.relative_to(metadata.path)} {len(content)}\n".encode() + content)
    for folder in folders[1:]:
        try:
            entries = sorted(_listing(folder, ""))
        except OSError as error:
            raise OmeZarrError(folder, f"cannot be listed ({error.strerror})") from error
        digest.update("".join(f"{name} {size} {time}\n" for name, size, time in entries).encode())
    return digest.hexdigest()


def _listing(folder: Path | str, prefix: str) -> Iterator[tuple[str, int, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _listing(entry.path, f"{prefix}{entry.name}/")
            elif entry.name not in METADATA_FILES:
                status = entry.stat()
                yield prefix + entry.name, status.st_size, status.st_mtime_ns
