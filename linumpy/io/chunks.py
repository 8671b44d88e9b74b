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
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec

from linumpy.io.errors import OmeZarrError
from linumpy.io.metadata import read_image_metadata
from linumpy.io.ome_zarr import Image

__all__ = ["MissingChunks", "fingerprint", "missing_chunks", "missing_files", "require_chunks"]

MAX_CHUNKS = 2**28
"""Chunks of a volume that can be dealt with: one flag for each is 256 MiB. It is 100 TB in chunks of 400 kB."""
SHOWN_NAMES = 3
"""Names shown of files that are not the ones looked for."""
DEEPEST = 8
"""Folders in each other below a level that are looked into for them."""

_METADATA_FILES = ("zarr.json", ".zgroup", ".zattrs", ".zarray")
_ABSENT = np.uint64(2**64 - 1)  # offset and size, in a shard's index, of a chunk that is not stored


@dataclass(frozen=True, eq=False)
class MissingChunks:
    """Chunks of a volume that are not stored.

    Parameters
    ----------
    lost : ndarray of bool, shape (z, y, x)
        For every chunk of the volume, whether it is not stored.
    links : tuple of str
        Files of chunks, in the store, that are symbolic links to nothing. Their chunks are among the lost.
    """

    lost: np.ndarray[Any, np.dtype[np.bool_]]
    links: tuple[str, ...] = ()

    @property
    def n_chunks(self) -> int:
        """Chunks of the volume."""
        return self.lost.size

    @property
    def n_missing(self) -> int:
        """Chunks that are not stored."""
        return int(np.count_nonzero(self.lost))


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

    Raises
    ------
    OmeZarrError
        If the metadata tells of more than `MAX_CHUNKS` chunks, or what lies at a chunk's name is no file.
    """
    array = image.array
    chunks = array.chunks
    per_file = [f // c for f, c in zip(array.shards or chunks, chunks, strict=True)]
    wanted = _wanted(image)
    shape = [-(-n // c) for n, c in zip(image.shape, image.chunks, strict=True)]
    if math.prod(shape) > MAX_CHUNKS:
        raise OmeZarrError(
            image.array_path,
            f"the metadata tells of {math.prod(shape)} chunks of one volume (shape {array.shape}, chunks {chunks}), "
            f"more than {MAX_CHUNKS}; correct it, or write the image with larger chunks",
        )
    order = [sorted(image.dimensions).index(d) for d in image.dimensions]
    lost = np.ones(shape, bool)
    links = []
    index = _ShardIndex.of(image) if array.shards else None
    files = [range(r.start // k, (r.stop - 1) // k + 1) for r, k in zip(wanted, per_file, strict=True)]
    for file, entry in _files(image, files):
        if not _is_file(entry):
            links.append(str(Path(entry.path).relative_to(image.path)))
            continue
        first = [f * k for f, k in zip(file, per_file, strict=True)]
        region = [slice(max(r.start, i), min(r.stop, i + k)) for r, i, k in zip(wanted, first, per_file, strict=True)]
        if index is None:
            lost[tuple(region[d] for d in image.dimensions)] = False
            continue
        inside = tuple(slice(r.start - i, r.stop - i) for r, i in zip(region, first, strict=True))
        absent = index.absent(Path(entry.path)).reshape(per_file)[inside]
        others = tuple(d for d in range(array.ndim) if d not in image.dimensions)
        lost[tuple(region[d] for d in image.dimensions)] = absent.squeeze(others).transpose(order)
    return MissingChunks(lost, tuple(sorted(links)))


def require_chunks(image: Image, missing: MissingChunks) -> None:
    """Refuse a volume of which nothing is stored: it would be one of fill values, which nobody means.

    Raises
    ------
    OmeZarrError
        With the names that were looked for, the names that are there, and the way out.
    """
    if missing.n_missing < missing.n_chunks:
        return
    key = image.array.metadata.encode_chunk_key
    grid = image.array.shards or image.array.chunks
    starts = [0 if d in image.dimensions else i // n for d, (i, n) in enumerate(zip(image.selected, grid, strict=True))]
    found = list(itertools.islice(_names(image.array_path, 0), SHOWN_NAMES))
    way_out = "copy the store again"
    if len(image.dimensions) < image.array.ndim:
        way_out += ", or select another channel or timepoint"
    if missing.links:
        way_out = f"{missing.links[0]} is a symbolic link to nothing: copy the files themselves"
    elif found and (index := _index(found[0])) and len(index) == image.array.ndim and key(index) != found[0]:
        way_out = _named_so(image, found[0], index)
    raise OmeZarrError(
        image.array_path,
        f"none of its {missing.n_chunks} chunks is there: looked for {key(tuple(starts))} and the like, "
        f"found {', '.join(found) or 'no file'}; {way_out}",
    )


def _named_so(image: Image, name: str, index: tuple[int, ...]) -> str:
    """Tell what to write into the metadata for files that are named otherwise than it says."""
    separator = "/" if "/" in name.removeprefix("c/") else "."
    if image.array.metadata.zarr_format == 2:
        if name == separator.join(map(str, index)):
            return f'write "dimension_separator": "{separator}" into {image.dataset}/.zarray'
    elif name in (separator.join(map(str, index)), separator.join(map(str, ("c", *index)))):
        encoding = "default" if name.startswith("c") else "v2"
        return (
            f'write "chunk_key_encoding": {{"name": "{encoding}", "configuration": {{"separator": "{separator}"}}}} '
            f"into {image.dataset}/zarr.json"
        )
    return "copy the store again"


def missing_files(image: Image) -> int:
    """Count the files of a level that are not there. What this package writes leaves none out."""
    grid = image.array.shards or image.array.chunks
    ranges = [range(-(-n // c)) for n, c in zip(image.array.shape, grid, strict=True)]
    return math.prod(map(len, ranges)) - sum(_is_file(entry) for _, entry in _files(image, ranges))


def _wanted(image: Image) -> list[range]:
    """Return the chunks of the volume along every dimension of the array."""
    return [
        range(-(-n // c)) if d in image.dimensions else range(i // c, i // c + 1)
        for d, (n, c, i) in enumerate(zip(image.array.shape, image.array.chunks, image.selected, strict=True))
    ]


def _files(image: Image, ranges: Sequence[range]) -> Iterator[tuple[tuple[int, ...], os.DirEntry[str]]]:
    """Yield index and entry of every chunk file that is there, from one listing of each folder.

    What the metadata tells of is not looked for name by name: it may tell of more than there is.
    """
    encode = image.array.metadata.encode_chunk_key

    def walk(folder: Path | str, prefix: str) -> Iterator[tuple[tuple[int, ...], os.DirEntry[str]]]:
        for entry in _entries(folder):
            name = prefix + entry.name
            index = _index(name)
            if index is None or any(i not in r for i, r in zip(index, ranges, strict=False)):
                continue
            if len(index) == len(ranges) and encode(index) == name:
                yield index, entry
            elif len(index) < len(ranges) and _is_folder(entry):
                yield from walk(entry.path, f"{name}/")

    return walk(image.array_path, "")


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise OmeZarrError(folder, f"cannot be listed ({error.strerror}); check links and permissions") from error


def _index(name: str) -> tuple[int, ...] | None:
    """Return the numbers in a chunk's name (``c/0/1/2``, ``0.1.2``) or the start of one, None if it is none."""
    parts = re.split("[./]", name)
    if parts[0] == "c":
        parts = parts[1:]
    return tuple(map(int, parts)) if all(p.isascii() and p.isdigit() and len(p) < 20 for p in parts) else None


def _names(folder: Path | str, depth: int, prefix: str = "") -> Iterator[str]:
    """Yield what a level's folder holds beside metadata, with the names of chunks."""
    for entry in _entries(folder):
        if depth < DEEPEST and _is_folder(entry):
            yield from _names(entry.path, depth + 1, f"{prefix}{entry.name}/")
        elif entry.name not in _METADATA_FILES:
            yield prefix + entry.name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:  # a symbolic link to itself
        raise OmeZarrError(entry.path, f"cannot be listed ({error.strerror}); check links and permissions") from error


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Tell a file (or a link to one) from a symbolic link to nothing.

    Raises
    ------
    OmeZarrError
        For anything else: reading a pipe would wait for ever.
    """
    if os.path.isfile(entry.path) if entry.is_symlink() else entry.is_file():
        return True
    if entry.is_symlink() and not os.path.exists(entry.path):
        return False
    raise OmeZarrError(entry.path, "a chunk is expected here and this is no file; copy the store again")


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
        for name in _METADATA_FILES:
            file = folder / name
            if file.is_file():
                content = file.read_bytes()
                digest.update(f"{file.relative_to(metadata.path)} {len(content)}\n".encode() + content)
    for folder in folders[1:]:
        try:
            entries = sorted(_listing(folder, ""))
        except OSError as error:
            raise OmeZarrError(folder, f"cannot be listed ({error.strerror}); check links and permissions") from error
        digest.update("".join(f"{name} {size} {time}\n" for name, size, time in entries).encode())
    return digest.hexdigest()


def _listing(folder: Path | str, prefix: str, above: frozenset[str] = frozenset()) -> Iterator[tuple[str, int, int]]:
    here = os.path.realpath(folder)
    if here in above:  # a symbolic link back to where it lies
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _listing(entry.path, f"{prefix}{entry.name}/", above | {here})
            elif entry.name not in _METADATA_FILES:
                status = entry.stat(follow_symlinks=os.path.exists(entry.path) if entry.is_symlink() else True)
                yield prefix + entry.name, status.st_size, status.st_mtime_ns
