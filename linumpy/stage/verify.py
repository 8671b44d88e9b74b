"""VERIFY: what a result folder holds, checked against the digests that were recorded with it."""

from __future__ import annotations

import itertools
from pathlib import Path

from blake3 import blake3

from linumpy.intensity.bias_model import BiasModel
from linumpy.io.digest import LevelDigest, geometry_digest
from linumpy.io.ome_zarr import Image, open_mask
from linumpy.io.pyramid import LevelLayout

__all__ = ["verify_acquisition"]

DIGESTS_FILE = "digests.tsv"
METRICS_FILE = "metrics.json"


def verify_acquisition(folder: Path) -> list[str]:
    """Read an acquisition's results back and compare them with its ``digests.tsv``.

    Parameters
    ----------
    folder : Path
        Folder of one acquisition.

    Returns
    -------
    list of str
        What differs or is missing, a line each; empty where everything is as it was written.

    Raises
    ------
    ValueError
        If there is no ``digests.tsv``.
    """
    record = folder / DIGESTS_FILE
    if not record.is_file():
        raise ValueError(f"{folder} has no {DIGESTS_FILE}; name the folder of one finished acquisition")
    recorded = dict(line.split("\t")[1:] for line in record.read_text(encoding="utf-8").splitlines())
    recorded.pop("image")  # the input's
    found: dict[str, str] = {}
    for name in sorted({what.split("/")[0] for what in recorded if "/" in what} - {"bias"}):
        try:
            finest = open_mask(folder / name)
        except ValueError as error:
            found[f"{name}/0"] = str(error)
            continue
        found[f"{name}/geometry"] = geometry_digest(finest)
        for level in (finest, *finest.levels):
            found[f"{name}/{level.dataset}"] = _digest_or_fault(level)
    try:
        found |= BiasModel.load(folder / "bias").digests()
    except (OSError, ValueError, KeyError) as error:
        found["bias"] = f"{type(error).__name__}: {error}"
    try:
        found[METRICS_FILE] = blake3((folder / METRICS_FILE).read_bytes()).hexdigest()
    except OSError as error:
        found[METRICS_FILE] = f"{type(error).__name__}: {error}"
    return [
        f"{what}: recorded {recorded.get(what, 'nothing')}, found {found.get(what, 'nothing')}"
        for what in sorted(recorded.keys() | found.keys())
        if recorded.get(what) != found.get(what)
    ]


def _digest_or_fault(level: Image) -> str:
    try:
        return _level_digest(level)
    except ValueError as error:
        return str(error)


def _level_digest(image: Image) -> str:
    grid = image.file_grid
    ones = (1, 1, 1)
    layout = LevelLayout(
        0, image.dataset, image.shape, image.chunks, image.shards, ones, ones, image.scale, image.translation
    )
    digest = LevelDigest(layout, image.dtype)
    for start in itertools.product(*(range(0, n, size) for n, size in zip(image.shape, grid, strict=True))):
        z, y, x = (slice(a, min(a + size, n)) for a, size, n in zip(start, grid, image.shape, strict=True))
        digest.update(start, image.read(z.start, z.stop, y, x))
    return digest.hexdigest()
