"""One store out of many: the chunk files of slabs, hard-linked into place.

Slabs are stores with the metadata of the whole image that hold disjoint files of it. Linking costs no space
and no time; where the file system refuses (another file system, a bind mount, a limit of links), the file is
copied, and counted.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from linumpy.io.errors import OmeZarrError

__all__ = ["LinkCounts", "assemble_chunks"]

_log = logging.getLogger(__name__)
_ARRAY_METADATA = ("zarr.json", ".zarray")
_METADATA = (*_ARRAY_METADATA, ".zattrs", ".zgroup")


@dataclass(frozen=True)
class LinkCounts:
    """Files that were hard-linked and files that had to be copied."""

    linked: int
    copied: int

    def __add__(self, other: LinkCounts) -> LinkCounts:
        return LinkCounts(self.linked + other.linked, self.copied + other.copied)


def assemble_chunks(slab_paths: Sequence[str | Path], destination: str | Path) -> LinkCounts:
    """Bring the chunk files of slabs together.

    Parameters
    ----------
    slab_paths : sequence of path-like
        Stores with the levels of `destination` that hold disjoint chunk files. They are left as they are.
    destination : path-like
        Store that `create_pyramid` made.

    Returns
    -------
    LinkCounts

    Raises
    ------
    OmeZarrError
        If a level of a slab is not one of the destination, or two slabs hold the same file.
    """
    destination = Path(destination)
    counts = LinkCounts(0, 0)
    for slab in sorted(Path(path) for path in slab_paths):
        for level in sorted(folder for folder in slab.iterdir() if folder.is_dir()):
            _require_same_array(level, destination / level.name)
            chunks = [file for file in _files(level) if file.name not in _METADATA]
            counts += _place_all(chunks, slab, destination)
    return counts


def _require_same_array(level: Path, target: Path) -> None:
    for name in _ARRAY_METADATA:
        try:
            ours, theirs = (json.loads((folder / name).read_bytes()) for folder in (level, target))
        except FileNotFoundError:
            continue
        if ours != theirs:
            raise OmeZarrError(
                level,
                f"this slab's array differs from that of {target}; slabs and image must share one layout",
            )
        return
    raise OmeZarrError(level, f"no array, or none at {target}; slabs and image must share one layout")


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            yield Path(parent, name)


def _place_all(files: Sequence[Path], source: Path, destination: Path) -> LinkCounts:
    linked = 0
    reason = None
    for file in files:
        target = destination / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, target)
            linked += 1
        except FileExistsError as error:
            raise OmeZarrError(target, f"is there already, but also in {source}; a file has one writer") from error
        except OSError as error:
            reason = error.strerror
            partial = target.with_name(target.name + ".partial")
            shutil.copyfile(file, partial)
            partial.rename(target)
    if reason:
        _log.warning("%d files of %s copied, not hard-linked: %s", len(files) - linked, source, reason)
    return LinkCounts(linked, len(files) - linked)
