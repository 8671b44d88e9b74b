"""Small acquisitions for the tests: simulated volumes, written as another program would write them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from linumpy.simulate import Acquisition, simulate_acquisition

COLUMNS = ("acquisition", "image", "n_sections", "sections", "mask", "channel", "timepoint")
VOXEL_UM = (10.0, 20.0, 20.0)

# Unequal sections, one of them shorter than two smoothing radii; odd sizes, so that no shrink divides them; tissue
# that wanders with Z. The volume is large enough for three rows of files and for a second level that spans them.
UNEVEN_SHAPE = (150, 61, 301)
UNEVEN_SECTIONS = ((0, 23), (23, 64), (64, 70), (70, 121), (121, 150))


@cache
def uneven_acquisition() -> Acquisition:
    """Return an acquisition with unequal sections, oblique tissue and odd sizes."""
    return simulate_acquisition(
        UNEVEN_SHAPE, sections=UNEVEN_SECTIONS, voxel_size_um=VOXEL_UM, variant="oblique", seed=3
    )


@cache
def small_acquisition(dtype: str = "float32") -> Acquisition:
    """Return an acquisition that takes no time."""
    return simulate_acquisition((21, 45, 52), sections=3, voxel_size_um=VOXEL_UM, seed=5, dtype=dtype)


def write_ome_zarr(
    path: Path,
    volume: NDArray[Any],
    *,
    voxel_um: Sequence[float] = VOXEL_UM,
    version: str = "0.5",
    unit: str | None = "micrometer",
    translation: Sequence[float] | None = None,
    channels: Sequence[Mapping[str, Any]] | None = None,
    chunks: tuple[int, int, int] = (16, 64, 64),
    axes: str = "zyx",
    **array_options: Any,
) -> Path:
    """Write one level with zarr and hand-made metadata: nothing of linumpy.io."""
    kinds = {"t": "time", "c": "channel"}
    axis_metadata = [
        {"name": axis, "type": kinds.get(axis, "space")} | ({"unit": unit} if unit and axis in "zyx" else {})
        for axis in axes
    ]
    leading = len(axes) - len(voxel_um)
    transformations = [{"type": "scale", "scale": [1.0] * leading + list(voxel_um)}]
    if translation is not None:
        transformations.append({"type": "translation", "translation": [0.0] * leading + list(translation)})
    multiscale = {
        "name": path.name.split(".")[0],
        "axes": axis_metadata,
        "datasets": [{"path": "s0", "coordinateTransformations": transformations}],
    }
    metadata: dict[str, Any] = {"multiscales": [multiscale]}
    if channels:
        metadata["omero"] = {"channels": list(channels)}
    if version == "0.4":
        multiscale["version"] = "0.4"
        group = zarr.open_group(path, mode="w", zarr_format=2, attributes=metadata)
        array_options["chunk_key_encoding"] = {"name": "v2", "separator": "/"}
    else:
        attributes = {"ome": {"version": "0.5", **metadata}}
        group = zarr.open_group(path, mode="w", zarr_format=3, attributes=attributes)
    whole = [1] * leading + [min(n, c) for n, c in zip(volume.shape[leading:], chunks, strict=True)]
    group.create_array("s0", data=volume, chunks=tuple(whole), **array_options)
    return path


def chunk_files(store: Path) -> list[Path]:
    """Return the chunk files of a store that `write_ome_zarr` wrote, sorted."""
    names = {"zarr.json", ".zarray", ".zattrs", ".zgroup"}
    return sorted(file for file in (store / "s0").rglob("*") if file.is_file() and file.name not in names)


def truncate(file: Path) -> None:
    """Leave half of a file."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def write_samplesheet(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows; the columns are those that any row has."""
    columns = [name for name in COLUMNS if any(name in row for row in rows)]
    columns += sorted({name for row in rows for name in row} - set(columns))
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_sections(path: Path, sections: Sequence[Sequence[int]]) -> Path:
    """Write section bounds."""
    path.write_text("z_start,z_stop\n" + "".join(f"{a},{b}\n" for a, b in sections))
    return path


def assert_same_stores(one: Path, other: Path) -> None:
    """Compare decoded levels bit for bit, and metadata, of two images."""
    groups = [zarr.open_group(path, mode="r") for path in (one, other)]
    assert groups[0].attrs.asdict() == groups[1].attrs.asdict()
    names = [sorted(group.array_keys()) for group in groups]
    assert names[0] == names[1]
    assert names[0]
    for name in names[0]:
        a, b = (np.asarray(group[name]) for group in groups)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
