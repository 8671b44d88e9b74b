"""TISSUE_MASK: the image streams by once; what stays is its mask, the samples, and what is wrong with its voxels."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linumpy.intensity.along_z_model import fit_along_z
from linumpy.intensity.bias_model import write_json
from linumpy.intensity.cuts import check_cuts
from linumpy.intensity.mask_plan import MaskSettings
from linumpy.intensity.offset import measure_offset
from linumpy.intensity.plane_ratios import plane_ratios
from linumpy.intensity.tissue_mask import SectionMask, mask_warnings, stream_tissue_mask
from linumpy.io.chunks import missing_chunks
from linumpy.io.digest import VolumeDigest, geometry_digest
from linumpy.io.given_mask import tissue_of
from linumpy.io.ome_zarr import Image, open_mask
from linumpy.io.pyramid import PyramidLayout
from linumpy.io.writer import PyramidBuilder, create_pyramid
from linumpy.stage.precision import SinglePrecision
from linumpy.stage.progress import Progress
from linumpy.stage.samples import SampleGeometry, Samples, SampleWriter
from linumpy.stage.spool import WholePlanes

__all__ = ["write_tissue_mask"]

logger = logging.getLogger(__name__)


def write_tissue_mask(
    image: Image,
    given_mask: Image | None,
    geometry: SampleGeometry,
    settings: MaskSettings,
    ome_zarr_version: str,
    along_z: bool,
    *,
    output_mask: Path,
    output_samples: Path,
    output_statistics: Path,
) -> None:
    """Find or take the tissue mask, keep the samples, count what is odd.

    Parameters
    ----------
    image : Image
        The image.
    given_mask : Image or None
        A mask to use instead of finding one; tissue is where it is neither 0 nor NaN.
    geometry : SampleGeometry
        What to sample.
    settings : MaskSettings
        How to find tissue.
    ome_zarr_version : str
        Of the mask.
    along_z : bool
        Measure what the sections bring to the brightness along Z, and whether it changes at the cuts.
    output_mask, output_samples, output_statistics : Path
        OME-Zarr, folder and JSON file to write.
    """
    samples = SampleWriter(output_samples, geometry)
    planes = WholePlanes(image, output_samples / "planes.raw")
    tap = _Tap(image, samples, planes.read)
    found: list[SectionMask] = []
    blocks = (
        _given_blocks(tap, planes.planes_per_read, given_mask, output_samples / "mask.raw")
        if given_mask is not None
        else stream_tissue_mask(
            tap.read,
            image.shape,
            geometry.sections,
            **asdict(settings),
            on_section=found.append,
        )
    )
    layout = PyramidLayout.plan(
        image.shape,
        bool,
        image.scale,
        translation=image.translation,
        unit=image.unit,
        ome_zarr_version=ome_zarr_version,
        shard_depth=16,
    )
    tissue_per_plane: list[int] = []
    holes, mask_holes = _Holes(image), _MaskHoles(given_mask)
    progress = Progress(logger, "tissue mask", image.shape[0], "planes")
    mask = create_pyramid(
        output_mask,
        layout,
        name=f"{image.name} tissue mask",
        image_label={"source": {"image": "../corrected.ome.zarr"}},
    )
    builder = PyramidBuilder(mask)
    with planes, samples:
        for z_start, block in _in_runs(blocks, layout.levels[0].row_depth):
            samples.add("mask", z_start, block)
            tissue_per_plane += [int(np.count_nonzero(plane)) for plane in block]
            builder.add(z_start, 0, 0, block)
            holes.add(z_start, block)
            mask_holes.add(z_start, block)
            progress.advance(len(block))
    builder.close()
    measured = Samples(output_samples)
    cuts = None
    if along_z:
        ratios = plane_ratios(measured.planes())
        measured.keep_along_z(fit_along_z(ratios, geometry.sections))
        cuts = check_cuts(ratios, geometry.sections).to_dict()
    write_json(
        output_statistics,
        {
            "image": _description(image) | {"digest": tap.digest.hexdigest()},
            "voxels": {"total": int(np.prod(image.shape)), **asdict(tap.counts)},
            "planes": {"tissue": tissue_per_plane, "checksum": tap.checksums},
            "sections": [_stored(section) for section in found],
            "cuts": cuts,
            "warnings": [
                *tap.precision.warnings(),
                *holes.warnings(),
                *mask_holes.warnings(),
                *mask_warnings(found),
                *_offset_warnings(measured),
            ],
            "digests": {
                f"{output_mask.name}/geometry": geometry_digest(open_mask(output_mask, validate=False)),
                **{f"{output_mask.name}/{digest.level.path}": digest.hexdigest() for digest in mask.digests},
            },
        },
    )


def _offset_warnings(samples: Samples) -> list[dict[str, Any]]:
    found = measure_offset(samples.planes(), samples.geometry.sections)
    if found is None or not found.is_likely:
        return []
    subtracted = samples.geometry.offset
    beside = f" beside the {subtracted:g} that were subtracted" if subtracted else ""
    message = (
        f"an offset of {found.value:.4g} +- {found.error:.2g}, {found.share:.0%} of the tissue, seems to lie under the "
        f"image{beside}: at {found.n_cuts} cuts the background changes less than the tissue does. The correction takes "
        f"it for light, and contrast suffers; compare with a dark frame, and run with --offset "
        f"{found.value + subtracted:.4g} if that is it"
    )
    return [{"code": "offset", "message": message, "section": None}]


@dataclass
class _Counts:
    """Voxels that are out of the ordinary."""

    not_finite: int = 0
    negative: int = 0
    zero: int = 0


@dataclass
class _Tap:
    """Reads planes for the mask and, the first time each plane comes by, samples, digests and counts it."""

    image: Image
    samples: SampleWriter
    read_image: Callable[[int, int], NDArray[Any]]
    counts: _Counts = field(default_factory=_Counts)
    digest: VolumeDigest = field(init=False)
    precision: SinglePrecision = field(init=False)
    checksums: list[int] = field(default_factory=list, init=False)
    seen: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.digest = VolumeDigest(self.image.shape, self.image.dtype)
        self.precision = SinglePrecision(self.image.array_path)

    def read(self, z_start: int, z_stop: int) -> NDArray[np.generic]:
        from linumpy.stage.checksum_kernels import checksum_planes  # only who reads voxels pays for Numba

        block = self.read_image(z_start, z_stop)
        new = block[max(0, self.seen - z_start) :]
        if len(new):
            self.precision.add(z_stop - len(new), new)
            self.samples.add("image", z_stop - len(new), new)
            self.digest.update(z_stop - len(new), new)
            self.checksums += checksum_planes(new).tolist()
            self._count(new)
            self.seen = z_stop
        return block

    def _count(self, block: NDArray[Any]) -> None:
        if block.dtype == np.float32:
            from linumpy.intensity.mask_kernels import count_odd

            found = np.zeros(3, np.int64)
            for plane in block:
                count_odd(plane, found)
            self.counts.not_finite += int(found[0])
            self.counts.negative += int(found[1])
            self.counts.zero += int(found[2])
            return
        if block.dtype.kind == "f":
            self.counts.not_finite += block.size - int(np.count_nonzero(np.isfinite(block)))
        if block.dtype.kind != "u":
            self.counts.negative += int(np.count_nonzero(block < 0))
        self.counts.zero += block.size - int(np.count_nonzero(block))


class _Holes:
    """Chunks of the image that are not stored, and whether their neighbours hold tissue, as the mask comes by.

    Zarr leaves chunks of zeros out, so far from tissue they mean nothing; beside tissue they may be lost.
    """

    def __init__(self, image: Image) -> None:
        self._chunks = image.chunks
        # a sampled image has other chunks
        self._lost = missing_chunks(image).lost if type(image) is Image else np.zeros((0, 0, 0), bool)
        self._tissue = np.zeros_like(self._lost)

    def add(self, z_start: int, block: NDArray[np.bool_]) -> None:
        if not self._lost.any():
            return
        block = _any_across(block, self._chunks[1:])
        for z, plane in enumerate(block, start=z_start):
            self._tissue[z // self._chunks[0]] |= plane

    def warnings(self) -> list[dict[str, Any]]:
        there = np.pad(self._tissue & ~self._lost, 1)
        beside = np.zeros_like(self._lost)
        for axis in range(3):
            for step in (-1, 1):
                beside |= np.roll(there, step, axis)[1:-1, 1:-1, 1:-1]
        return _told_missing("", "lie beside tissue", self._lost & beside, self._lost)


class _MaskHoles:
    """Chunks of a given mask that are not stored although tissue reaches their very border, as the mask comes by.

    Chunks without tissue are left out of most masks, so that many lie beside tissue; but where tissue ends by itself,
    it seldom ends at the border of a chunk.
    """

    def __init__(self, mask: Image | None) -> None:
        self._chunks = mask.chunks if mask else (1, 1, 1)
        self._lost = missing_chunks(mask).lost if type(mask) is Image else np.zeros((0, 0, 0), bool)
        self._reached = np.zeros_like(self._lost)

    def add(self, z_start: int, block: NDArray[np.bool_]) -> None:
        if not self._lost.any():
            return
        wider = block.copy()
        for ahead, behind in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[:, :, 1:], np.s_[:, :, :-1])):
            wider[ahead] |= block[behind]
            wider[behind] |= block[ahead]
        depth, *across = self._chunks
        within, beside = _any_across(wider, across), _any_across(block, across)
        for i, z in enumerate(range(z_start, z_start + len(block))):
            self._reached[z // depth] |= within[i]
            for row in ((z - 1) // depth, (z + 1) // depth):
                if 0 <= row < len(self._reached):
                    self._reached[row] |= beside[i]

    def warnings(self) -> list[dict[str, Any]]:
        return _told_missing(
            "of the given mask ", "are reached by tissue at their very border", self._lost & self._reached, self._lost
        )


def _any_across(block: NDArray[np.bool_], chunks: Sequence[int]) -> NDArray[np.bool_]:
    """Tell of every chunk of the planes whether it holds anything."""
    for axis, chunk in enumerate(chunks, start=1):
        block = np.logical_or.reduceat(block, range(0, block.shape[axis], chunk), axis=axis)
    return block


def _told_missing(
    of_what: str, where: str, suspicious: NDArray[np.bool_], lost: NDArray[np.bool_]
) -> list[dict[str, Any]]:
    n_suspicious = int(np.count_nonzero(suspicious))
    if not n_suspicious:
        return []
    message = (
        f"{n_suspicious} of {np.count_nonzero(lost)} chunks {of_what}that are not stored, and read as the fill value, "
        f"{where}; where the store is a copy, compare it with the original"
    )
    return [{"code": "missing_chunks", "message": message, "section": None}]


def _in_runs(blocks: Iterable[tuple[int, NDArray[np.bool_]]], depth: int) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Regroup blocks that come in Z order into runs of ``depth`` planes; the last may be shorter."""
    waiting: list[NDArray[np.bool_]] = []
    z_start = 0
    for _, block in blocks:
        waiting.append(block)
        while sum(map(len, waiting)) >= depth:
            planes = np.concatenate(waiting)
            yield z_start, planes[:depth]
            z_start += depth
            waiting = [planes[depth:]]
    planes = np.concatenate(waiting)
    if len(planes):
        yield z_start, planes


def _given_blocks(tap: _Tap, image_planes: int, mask: Image, spool: Path) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    n_planes = mask.shape[0]
    with WholePlanes(mask, spool) as planes:
        for z_start in range(0, n_planes, planes.planes_per_read):
            z_stop = min(z_start + planes.planes_per_read, n_planes)
            while tap.seen < z_stop:
                tap.read(tap.seen, min(tap.seen + image_planes, n_planes))
            yield z_start, tissue_of(planes.read(z_start, z_stop))


def _stored(section: SectionMask) -> dict[str, Any]:
    # Not `asdict`, which copies all that a section holds: it is slow for thousands of sections.
    return vars(section) | {"split": section.split and vars(section.split), "left_out": vars(section.left_out)}


def _description(image: Image) -> dict[str, Any]:
    return {
        "name": image.name,
        "shape": list(image.shape),
        "dtype": str(image.dtype),
        "voxel_size_um": [1000 * size for size in image.voxel_size_mm],
        "axes": "zyx",
        "channel": image.channel,
        "timepoint": image.timepoint,
    }
