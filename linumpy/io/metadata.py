"""NGFF metadata of an image group: which arrays it holds and where their voxels lie.

OME-Zarr 0.4 keeps it in ``.zattrs`` of a Zarr v2 group, 0.5 under ``ome`` in the attributes of a Zarr v3
group. ome-zarr-models says whether a `multiscales` entry is valid; everything said about the arrays is said
here without opening them. Rendering metadata (`omero`) is taken as it is found: a broken colour must not stop
a correction.
"""

from __future__ import annotations

import itertools
import json
import math
import stat
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linumpy.io.errors import OmeZarrError

__all__ = ["Axis", "Dataset", "ImageMetadata", "check_metadata_file", "read_image_metadata"]

MAX_ENTRIES = 100
"""Most levels, axes or transformations: what is more is no image's, and a model of each takes memory."""
MAX_JSON_BYTES = 2**23
"""Of one metadata file. Metadata of ten thousand levels and channels has a few megabytes."""


@dataclass(frozen=True)
class Axis:
    """One axis of the arrays: `name`, `type` ("space", "time", "channel", ...) and `unit` as written."""

    name: str
    type: str | None
    unit: str | None


@dataclass(frozen=True)
class Dataset:
    """One level: its array's `path` in the group, `scale` and `translation` per axis in the axes' units."""

    path: str
    scale: tuple[float, ...]
    translation: tuple[float, ...]


@dataclass(frozen=True)
class ImageMetadata:
    """What the metadata of an image group says.

    Parameters
    ----------
    path : Path
        The group (for a bioformats2raw layout, the group of its one series).
    version : str
        "0.4" or "0.5".
    name : str
        Name of the multiscale image, or of the folder where it has none.
    axes : tuple of Axis
        In the order of the arrays' dimensions.
    datasets : tuple of Dataset
        Finest first.
    channels : tuple of dict
        `omero` channel metadata, empty where there is none.
    """

    path: Path
    version: str
    name: str
    axes: tuple[Axis, ...]
    datasets: tuple[Dataset, ...]
    channels: tuple[dict[str, Any], ...]


def read_image_metadata(path: str | Path, *, validate: bool = True) -> ImageMetadata:
    """Read and check the NGFF metadata of an image group.

    Parameters
    ----------
    path : path-like
        Folder of the OME-Zarr image, or of a bioformats2raw layout that holds exactly one series.
    validate : bool
        Check the metadata with ome-zarr-models, which takes 0.3 s to load. To be left out only where an earlier
        task has done it.

    Returns
    -------
    ImageMetadata
        Transformations of the group and its datasets composed.

    Raises
    ------
    OmeZarrError
        If there is no OME-Zarr 0.4 or 0.5 image at `path`.
    """
    path = Path(path)
    _require_folder(path)
    attributes, version = _group_attributes(path)
    if "bioformats2raw.layout" in attributes and "multiscales" not in attributes:
        path = _only_series(path)
        _require_folder(path)
        attributes, version = _group_attributes(path)
    return _parse_image(path, attributes, version, validate=validate)


def _require_folder(path: Path) -> None:
    if not path.exists():
        raise OmeZarrError(path, "there is no such folder; check the path (only file systems are read)")
    if path.is_file():
        way_out = "unpack it" if path.suffix == ".zip" else "name the folder of the image"
        raise OmeZarrError(path, f"this is a file, an OME-Zarr image is a folder; {way_out}")


def _group_attributes(path: Path) -> tuple[Mapping[str, Any], str]:
    """OME attributes of the group and the version of OME-Zarr that they stand for."""
    node = _load_json(path / "zarr.json")
    if node is not None:
        if node.get("node_type") != "group":
            raise OmeZarrError(
                path, f"this is a Zarr {node.get('node_type')}, not an image group; name the folder above it"
            )
        attributes = _mapping(node.get("attributes"))
        ome = attributes.get("ome")
        if isinstance(ome, Mapping):
            version = str(ome.get("version", "0.5"))
            if version != "0.5":
                raise OmeZarrError(path, f"OME-Zarr {version!r} on Zarr v3 cannot be read, only 0.5; convert it to 0.5")
            return ome, version
        if "multiscales" in attributes:
            raise OmeZarrError(
                path,
                "Zarr v3 with 'multiscales' outside 'ome' is neither OME-Zarr 0.4 nor 0.5; write it again",
            )
        raise OmeZarrError(path, "a Zarr v3 group without 'ome' metadata is no OME-Zarr image; " + _look(path))
    if _load_json(path / ".zarray") is not None:
        raise OmeZarrError(path, "this is a Zarr array, not an image group; name the folder above it")
    zattrs = _load_json(path / ".zattrs")
    if zattrs is None and not (path / ".zgroup").is_file():
        raise OmeZarrError(path, "no OME-Zarr image: it holds neither zarr.json nor .zattrs; " + _look(path))
    return zattrs or {}, "0.4"


def _look(path: Path) -> str:
    """Name the images one level below, the usual cause of a group without metadata."""
    files = sorted(file for pattern in ("*/zarr.json", "*/.zattrs") for file in path.glob(pattern))
    images = [file.parent.name for file in itertools.islice(filter(_is_of_an_image, files), 5)]
    return f"name one of the groups in it: {', '.join(images)}" if images else "check the path, or copy the store again"


def _is_of_an_image(file: Path) -> bool:
    try:
        check_metadata_file(file)
        content = file.read_bytes()
    except (OSError, OmeZarrError):
        return False
    return b'"multiscales"' in content or b'"bioformats2raw.layout"' in content


def check_metadata_file(file: Path) -> None:
    """Refuse what is no file, a pipe for instance, or too large to be one of metadata.

    Raises
    ------
    FileNotFoundError
        If there is none.
    OmeZarrError
        Naming the file.
    """
    if not stat.S_ISREG((status := file.stat()).st_mode) or status.st_size > MAX_JSON_BYTES:
        raise OmeZarrError(file, f"is no file of metadata (at most {MAX_JSON_BYTES} bytes); copy the store again")


def _load_json(file: Path) -> dict[str, Any] | None:
    try:
        check_metadata_file(file)
        text = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise OmeZarrError(file, f"cannot be read ({error.strerror}); check the permissions") from error
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise OmeZarrError(file, f"is not valid JSON ({error}); copy the store again") from error
    if not isinstance(content, dict):
        raise OmeZarrError(file, "does not hold a JSON object; copy the store again")
    return content


def _mapping(value: Any) -> Mapping[str, Any]:
    """Return a JSON object, an empty one in place of anything else."""
    return value if isinstance(value, Mapping) else {}


def _inside(path: Path, name: str) -> str:
    """Refuse the name of a level or series that leads out of its image."""
    if not name or name.startswith("/") or ".." in name.split("/"):
        raise OmeZarrError(path, f"the path {name!r} in the metadata leads out of the image; correct it")
    return name


def _only_series(path: Path) -> Path:
    ome = _load_json(path / "OME" / "zarr.json")
    if ome is not None:
        ome = _mapping(ome.get("attributes")).get("ome")
    else:
        ome = _load_json(path / "OME" / ".zattrs")
    series = _mapping(ome).get("series")
    if series is None:  # the layout without the list: groups named 0, 1, ...
        series = sorted((p.name for p in path.iterdir() if p.is_dir() and p.name.isdigit()), key=int)
    if not isinstance(series, list):
        raise OmeZarrError(path / "OME", f"'series' is {series!r}; write a list of the series' names")
    if len(series) != 1:
        names = ", ".join(str(name) for name in series) or "none"
        raise OmeZarrError(
            path,
            f"bioformats2raw layout with {len(series)} series ({names}); name one, such as {path / '0'}",
        )
    return path / _inside(path, str(series[0]))


def _check_lengths(path: Path, raw: Mapping[str, Any]) -> None:
    """Refuse lists that are too long, before a model is made of each of their entries."""

    def check(what: str, entries: object) -> None:
        if isinstance(entries, list) and len(entries) > MAX_ENTRIES:
            raise OmeZarrError(path, f"{len(entries):,} {what} in the metadata; at most {MAX_ENTRIES} are read")

    datasets = raw.get("datasets")
    check("axes", raw.get("axes"))
    check("levels", datasets)
    for part in (raw, *map(_mapping, datasets if isinstance(datasets, list) else [])):
        transformations = part.get("coordinateTransformations")
        check("transformations", transformations)
        for transformation in map(_mapping, transformations if isinstance(transformations, list) else []):
            check("numbers of a scale", transformation.get("scale"))
            check("numbers of a translation", transformation.get("translation"))


def _parse_image(path: Path, attributes: Mapping[str, Any], version: str, *, validate: bool) -> ImageMetadata:
    raw_multiscales = attributes.get("multiscales")
    if not isinstance(raw_multiscales, list) or not raw_multiscales:
        for kind, way_out in (
            ("plate", "name one image of the plate (row/column/field)"),
            ("well", "name one field of the well"),
            ("labels", "name one label image in it"),
            ("series", "name the series"),
        ):
            if kind in attributes:
                raise OmeZarrError(path, f"'{kind}' metadata, but no image ('multiscales'); {way_out}")
        raise OmeZarrError(path, "no image in it: 'multiscales' is missing or empty, or no list; " + _look(path))
    raw = raw_multiscales[0]
    _check_lengths(path, _mapping(raw))
    if not isinstance(raw, Mapping):
        raise OmeZarrError(path, "'multiscales' does not hold an object; write the metadata again")
    if version == "0.4" and (found := raw.get("version", "0.4")) != "0.4":
        raise OmeZarrError(path, f"OME-Zarr version {found!r} cannot be read, only 0.4 and 0.5; convert it")
    if validate:
        _validate(path, raw, version)
    axes = tuple(
        Axis(str(axis["name"]), axis.get("type"), unit if isinstance(unit := axis.get("unit"), str) else None)
        for axis in raw["axes"]
    )
    if len(axes) < 3 or sum(axis.type == "space" for axis in axes) < 3:
        names = "".join(axis.name for axis in axes)
        if {"z", "y", "x"} <= {axis.name.lower() for axis in axes}:
            types = ", ".join(f"{axis.name}: {axis.type}" for axis in axes)
            raise OmeZarrError(path, f"axes of types {types}; write the type space for z, y and x into the metadata")
        raise OmeZarrError(
            path, f"a 2-D image (axes {names}); a volume with axes z, y and x is needed: stack the planes"
        )
    outer = _affine(path, raw.get("coordinateTransformations"), len(axes))
    datasets = []
    for dataset in raw["datasets"]:
        scale, translation = _affine(path, dataset["coordinateTransformations"], len(axes))
        datasets.append(
            Dataset(
                _inside(path, str(dataset["path"])),
                tuple(a * b for a, b in zip(outer[0], scale, strict=True)),
                tuple(a * b + c for a, b, c in zip(outer[0], translation, outer[1], strict=True)),
            )
        )
    omero = attributes.get("omero")
    channels = _mapping(omero).get("channels")
    return ImageMetadata(
        path=path,
        version=version,
        name=str(raw.get("name") or path.name),
        axes=axes,
        datasets=tuple(datasets),
        channels=tuple(dict(_mapping(c)) for c in channels) if isinstance(channels, list) else (),
    )


def _validate(path: Path, raw: Mapping[str, Any], version: str) -> None:
    """Check the entry with ome-zarr-models, whose faults become one line."""
    from pydantic import ValidationError  # slow to load: only where it is needed

    if version == "0.4":
        from ome_zarr_models.v04.multiscales import Multiscale
    else:
        from ome_zarr_models.v05.multiscales import Multiscale  # type: ignore[assignment]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what is valid all the same
            Multiscale.model_validate(raw)
    except Exception as error:  # its own checks stumble over some metadata
        places: tuple[int | str, ...] = ()
        reason = f"it cannot be checked ({type(error).__name__}: {error})"
        if isinstance(error, ValidationError):
            fault = error.errors()[0]  # the others often follow from it
            places = fault["loc"]
            reason = fault["msg"].removeprefix("Value error, ").rstrip(".")
        where = ".".join(str(part) for part in places if not str(part).startswith("tuple["))
        raise OmeZarrError(
            path,
            f"invalid OME-Zarr {version} metadata in multiscales[0]{'.' if where else ''}{where}: {reason}; "
            f"correct the metadata",
        ) from error


def _affine(path: Path, transforms: Any, n_axes: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compose transformations, in their order, into one scale and one translation."""
    scale = (1.0,) * n_axes
    translation = (0.0,) * n_axes
    for transform in transforms or ():
        kind = transform["type"]
        values = transform.get(kind)
        if not isinstance(values, list):
            raise OmeZarrError(path, f"the {kind} is kept in a file, which is not read; write the numbers here")
        values = [float(v) for v in values]
        if not all(math.isfinite(v) for v in values) or (kind == "scale" and min(values) <= 0):
            raise OmeZarrError(
                path, f"{kind} {values}: finite numbers are needed, a scale above 0; correct the metadata"
            )
        if kind == "scale":
            scale = tuple(s * v for s, v in zip(scale, values, strict=True))
            translation = tuple(t * v for t, v in zip(translation, values, strict=True))
        else:
            translation = tuple(t + v for t, v in zip(translation, values, strict=True))
    return scale, translation
