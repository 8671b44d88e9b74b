"""Small stores, and what chance does to them: one key of the metadata changed, or the bytes of one chunk file.

A store is held as the contents of its files, so that a mutated one is written in a moment.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numcodecs
import numpy as np
import zarr
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec

from tests.acquisitions import write_ome_zarr

METADATA_NAMES = (".zattrs", ".zarray", ".zgroup", "zarr.json")
SHAPE = (4, 8, 8)
CHUNKS = (2, 4, 8)
Files = Mapping[str, bytes]

KINDS: dict[str, dict[str, Any]] = {
    "0.4 blosc": {"version": "0.4", "compressors": numcodecs.Blosc("zstd", 3)},
    "0.4 zlib": {"version": "0.4", "compressors": numcodecs.Zlib(1)},
    "0.4 delta": {"version": "0.4", "compressors": numcodecs.Zstd(1), "filters": [numcodecs.Delta("<u2")]},
    "0.4 raw": {"version": "0.4", "compressors": None},
    "0.4 channels": {"version": "0.4", "axes": "tczyx", "channels": [{"label": "a", "color": "FF0000"}, {}]},
    "0.5 zstd": {"compressors": ZstdCodec()},
    "0.5 blosc": {"compressors": BloscCodec(cname="lz4")},
    "0.5 checksum": {"compressors": [GzipCodec(), Crc32cCodec()]},
    "0.5 shards": {"shards": (4, 8, 8)},
    "0.5 channels": {"axes": "cxyz", "channels": [{"label": "a"}, {"label": "b"}]},
}
SELECTED = {"0.4 channels": {"channel": "1", "timepoint": 0}, "0.5 channels": {"channel": "b"}}


@cache
def files_of(kind: str) -> Files:
    """Return a sound store of two levels."""
    options = {"axes": "zyx"} | KINDS[kind]
    axes = options["axes"]
    sizes = dict(zip("zyx", SHAPE, strict=True)) | {"t": 1, "c": 2}
    rng = np.random.default_rng(7)
    volume = rng.integers(100, 1000, [sizes[axis] for axis in axes]).astype("u2")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "i.zarr"
        # Axes are written by name below; the helper's own are those that end in z, y, x.
        write_ome_zarr(path, volume, chunks=CHUNKS, **options)
        group = zarr.open_group(path, mode="r+")
        coarse = volume[tuple(slice(None, None, 2 if axis in "zyx" else 1) for axis in axes)]
        separator = {"chunk_key_encoding": {"name": "v2", "separator": "."}} if "0.4" in kind else {}
        group.create_array("s1", data=coarse, chunks=coarse.shape, **separator)
        name = ".zattrs" if "0.4" in kind else "zarr.json"
        document = json.loads((path / name).read_text())
        (multiscale,) = (document if "0.4" in kind else document["attributes"]["ome"])["multiscales"]
        finest = multiscale["datasets"][0]
        (scale,) = [t["scale"] for t in finest["coordinateTransformations"]]
        doubled = [2 * s if axis in "zyx" else s for s, axis in zip(scale, axes, strict=True)]
        transformations = [{"type": "scale", "scale": doubled}, {"type": "translation", "translation": [0] * len(axes)}]
        multiscale["datasets"].append({"path": "s1", "coordinateTransformations": transformations})
        multiscale["coordinateTransformations"] = [{"type": "scale", "scale": [1] * len(axes)}]
        (path / name).write_text(json.dumps(document))
        return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def write_files(path: Path, files: Mapping[str, bytes | None]) -> Path:
    """Write a store anew; None stands for a symbolic link to nothing."""
    shutil.rmtree(path, ignore_errors=True)
    for name, content in files.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            file.symlink_to("gone")
        else:
            file.write_bytes(content)
    return path


JUNK = [
    None, True, False, 0, -1, 1, 2, 3, 7, 2**31, 10**12, 2**63, 10**400, 0.5, -1.5, 1e300,
    float("inf"), float("nan"), "", "x", "/", ".", "0", "1", "s1", "s0", "../i.zarr/s0", "0.4", "0.5", "space", "z",
    "time", "nanometer", "millimeter",
    "<u2", ">u2", "<f4", "|O", "|S9", "uint8", "float64", "F", "C", "blosc", "zlib", "bytes", "little", "big", "\u0000",
    [], [[]], [1], [1, 1, 1], [4, 8, 8], {}, {"a": 1}, {"type": "scale", "scale": [1, 1, 1]},
    {"name": "crc32c"}, {"id": "zlib", "level": 1}, {"name": "transpose", "configuration": {"order": [2, 1, 0]}},
]  # fmt: skip


def places(document: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in a JSON document."""
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        yield (*above, key)
        yield from places(value, (*above, key))


def at(document: Any, place: tuple[Any, ...]) -> Any:
    """Return the value at a path."""
    for key in place:
        document = document[key]
    return document


@st.composite
def mutated_json(draw: st.DrawFn, text: bytes) -> tuple[str, bytes]:
    """Change one key of a JSON document; say what was done."""
    document = json.loads(text)
    known = list(places(document))
    if not known:
        return "nothing in it", text
    place = draw(st.sampled_from(known))
    holder, key = at(document, place[:-1]), place[-1]
    action = draw(st.sampled_from(["drop", "retype", "duplicate", "swap"]))
    told = f"{action} {'/'.join(map(str, place))}"
    if action == "drop":
        del holder[key]
    elif action == "retype":
        holder[key] = draw(st.sampled_from(JUNK))
        told += f" to {str(holder[key])[:30]!r}"
    elif action == "duplicate":
        if isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        else:
            holder[f"@again@{key}"] = draw(st.sampled_from([*JUNK, holder[key]]))
            told += f" as {str(holder[f'@again@{key}'])[:30]!r}"
    else:
        other = draw(st.sampled_from([p for p in known if p != place] or [place]))
        told += f" with {'/'.join(map(str, other))}"
        one, another = copy.deepcopy(at(document, place)), copy.deepcopy(at(document, other))
        at(document, other[:-1])[other[-1]] = one
        if other != place[: len(other)]:  # else the place is gone
            at(document, place[:-1])[key] = another
    return told, json.dumps(document).replace('"@again@', '"').encode()


@st.composite
def mutated_bytes(draw: st.DrawFn, content: bytes) -> tuple[str, bytes]:
    """Flip a bit, cut, or lengthen."""
    action = draw(st.sampled_from(["flip", "flip", "cut", "lengthen", "zeros", "set"]))
    where = draw(st.integers(0, max(0, len(content) - 1)))
    if action == "flip" and content:
        bit = draw(st.integers(0, 7))
        return f"flip bit {bit} of byte {where}", (
            content[:where] + bytes([content[where] ^ 1 << bit]) + content[where + 1 :]
        )
    if action == "set":
        width = draw(st.sampled_from([1, 4, 8]))
        value = draw(st.sampled_from([b"\x00", b"\xff", b"\x7f"])) * width
        return f"set {width} bytes at {where}", content[:where] + value + content[where + width :]
    if action == "lengthen":
        return "lengthen", content + bytes(draw(st.integers(1, 40)))
    if action == "zeros":
        return "zeros", bytes(len(content))
    return f"cut at {where}", content[:where]


@st.composite
def mutations(draw: st.DrawFn) -> tuple[str, str, dict[str, bytes | None]]:
    """Draw the kind of a store, what is done to it in words, and its files."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    files: dict[str, bytes | None] = dict(files_of(kind))
    metadata = [name for name in files if name.rsplit("/", 1)[-1] in METADATA_NAMES]
    # The finest level is what is read; the other's chunks are not.
    chunks = [name for name in files if name not in metadata and name.startswith("s0")]
    what = draw(st.sampled_from(["json"] * 5 + ["json bytes"] + ["chunk"] * 3 + ["swap chunks", "lose", "unlink"]))
    name = draw(st.sampled_from(metadata if what.startswith("json") else chunks))
    content = files[name]
    assert content is not None
    if what == "json":
        told, files[name] = draw(mutated_json(content))
    elif what in ("json bytes", "chunk"):
        told, files[name] = draw(mutated_bytes(content))
    elif what == "swap chunks":
        other = draw(st.sampled_from(chunks))
        files[name], files[other] = files[other], content
        told = f"swap with {other}"
    elif what == "lose":
        del files[name]
        told = "lose"
    else:
        files[name] = None
        told = "a link to nothing"
    return kind, f"{name}: {told}", files


def number_from_environment(name: str, default: int | None) -> int | None:
    """Return the number in an environment variable."""
    return int(os.environ[name]) if os.environ.get(name) else default


class Hang(BaseException):
    """Nothing catches it."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
