"""Inputs by area, each one thing away from a sound acquisition, and what CHECK_INPUT makes of it.

A row is a name, the steps that make the input, and the whole outcome: the faults, a line each; or what was accepted as
what, and the warnings. The sound image is 6 x 20 x 24 voxels of 10 x 20 x 20 um in six chunks, the row asks for two
sections; paths are told as the user gave them, under ``/data``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray

from tests.acquisitions import small_acquisition, truncate, write_ome_zarr
from tests.corpus.building import (
    CHUNKS,
    SHAPE,
    Case,
    Step,
    array,
    axis,
    cells,
    chunk,
    edited,
    given,
    group,
    image,
    mask,
    multiscale,
    on_disk,
    sections,
    sheet,
    transformations,
    volume,
)

__all__ = ["TABLE", "VOXELS"]

Rows = list[tuple[str, Step | list[Step], str]]
ROW = "brain,i.zarr,2\n"
HEADER = "acquisition,image,n_sections\n"
KEPT = {"write_empty_chunks": True}
V4 = {"version": "0.4"}
CHANNELS = [{"label": "dapi"}, {"label": "gfp"}, {"label": "1"}]


def five(**row: object) -> list[Step]:
    """An image of two timepoints and three channels."""
    data = np.ones((2, 3, *SHAPE), np.uint8)
    return [image(data, axes="tczyx", channels=CHANNELS), cells(**row)]


def whole(data: object, **options: object) -> Step:
    """An image whose chunks are stored whatever they hold."""
    return image(data, config=KEPT, **options)


def one_plane_image(case: Case) -> None:
    """Two axes, y and x."""
    image(volume()[:1])(case)
    multiscale(lambda entry: entry.update(axes=entry["axes"][1:]))(case)
    transformations({"type": "scale", "scale": [20, 20]})(case)


def nested_without_separator(case: Case) -> None:
    image(**V4)(case)
    array(lambda document: document.pop("dimension_separator"))(case)


def renamed(old: str, new: str) -> Step:
    def change(case: Case) -> None:
        (case.image / new).parent.mkdir(parents=True, exist_ok=True)
        (case.image / old).rename(case.image / new)

    return on_disk(change)


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("/nowhere/else")


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def loop(path: Path) -> None:
    for file in sorted(path.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    path.rmdir()
    path.symlink_to(path.name)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def all_chunks(change: Callable[[Path], object]) -> Step:
    return on_disk(
        lambda case: [change(file) for file in sorted((case.image / "s0" / "c").rglob("*")) if file.is_file()]
    )


def linked(name: str) -> list[Step]:
    """The image by a symbolic link."""
    return [on_disk(lambda case: (case.folder / "l.zarr").symlink_to(name)), cells(image="l.zarr")]


def moved(name: str) -> list[Step]:
    """The image under another name."""
    return [on_disk(lambda case: case.image.rename(case.folder / name)), cells(image=name)]


def elsewhere(case: Case) -> None:
    (case.image / "s0").rename(case.folder / "kept")
    (case.image / "s0").symlink_to(case.folder / "kept")


def block_mask() -> NDArray[np.bool_]:
    """A mask whose tissue ends inside chunks, those without any not stored."""
    made = np.zeros(TISSUE.shape, bool)
    made[:, 18:28, 16:37] = True
    return made


def sharded(depth: int) -> Step:
    """Shards of so many planes, of chunks of two."""
    return image(chunks=(2, 10, 12), shards=(depth, 20, 24))


def levels(*shapes: tuple[int, int, int]) -> Step:
    """Coarser levels beside the finest."""

    def change(case: Case) -> None:
        root = zarr.open_group(case.image, mode="r+")
        for index, shape in enumerate(shapes, start=1):
            root.create_array(f"s{index}", data=np.ones(shape, np.float32), chunks=shape)
            scale = [10 * 2**index, 20 * 2**index, 20 * 2**index]
            entry = {"path": f"s{index}", "coordinateTransformations": [{"type": "scale", "scale": scale}]}
            multiscale(lambda m, entry=entry: m["datasets"].append(entry))(case)

    return on_disk(change)


def bioformats(series: object, *names: str) -> Step:
    """The image as a series of a bioformats2raw layout."""

    def change(case: Case) -> None:
        outer = zarr.open_group(case.folder / "b.zarr", mode="w", zarr_format=3)
        outer.attrs.put({"ome": {"version": "0.5", "bioformats2raw.layout": 3}})
        for name in names:
            write_ome_zarr(case.folder / "b.zarr" / name, volume(), chunks=CHUNKS)
        if series is not None:
            inner = zarr.open_group(case.folder / "b.zarr" / "OME", mode="w", zarr_format=3)
            inner.attrs.put({"ome": {"version": "0.5", "series": series}})
        case.row["image"] = "b.zarr"

    return on_disk(change)


SAMPLESHEET: Rows = [
    ("sound", [], "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("empty", sheet(""), "samplesheet sheet.csv is empty; give a header (acquisition, image, n_sections) and rows"),
    (
        "blank lines only",
        sheet("\n\n \n"),
        "samplesheet sheet.csv is empty; give a header (acquisition, image, n_sections) and rows",
    ),
    ("header only", sheet(HEADER), "samplesheet sheet.csv has a header and no rows; give one row an acquisition"),
    (
        "misspelt column",
        sheet("acquisition,image,n_section\n" + ROW),
        "samplesheet header: unknown column 'n_section'; did you mean n_sections?\nsamplesheet header: give a column n_sections (a number) or sections (a CSV of z_start,z_stop)",
    ),
    (
        "unknown column",
        sheet("acquisition,image,n_sections,colour\nbrain,i.zarr,2,red\n"),
        "samplesheet header: unknown column 'colour'; columns are acquisition, image, n_sections, sections, mask, channel, timepoint",
    ),
    (
        "column twice",
        sheet("acquisition,image,image,n_sections\nbrain,i.zarr,i.zarr,2\n"),
        "samplesheet header: column image stands 2 times; keep one",
    ),
    (
        "no acquisition column",
        sheet("image,n_sections\ni.zarr,2\n"),
        "samplesheet header: column acquisition is missing; add it",
    ),
    (
        "no image column",
        sheet("acquisition,n_sections\nbrain,2\n"),
        "samplesheet header: column image is missing; add it",
    ),
    (
        "no sections column",
        sheet("acquisition,image\nbrain,i.zarr\n"),
        "samplesheet header: give a column n_sections (a number) or sections (a CSV of z_start,z_stop)",
    ),
    (
        "column of another case",
        sheet("Acquisition,image,n_sections\n" + ROW),
        "samplesheet header: unknown column 'Acquisition'; did you mean acquisition?\nsamplesheet header: column acquisition is missing; add it",
    ),
    (
        "not UTF-8",
        sheet(HEADER.encode() + "brän,i.zarr,2\n".encode("latin-1")),
        "sheet.csv is not a CSV file in UTF-8 ('utf-8' codec can't decode byte 0xe4 in position 31: invalid continuation byte); save it as one",
    ),
    (
        "UTF-16",
        sheet((HEADER + ROW).encode("utf-16")),
        "sheet.csv is in UTF-16, or no text at all; save it as CSV in UTF-8",
    ),
    (
        "quote not closed",
        sheet(HEADER + 'brain,"i.zarr,2\nother,i.zarr,2\n'),
        "sheet.csv line 3 is not CSV (unexpected end of data); look for a double quote that is not closed",
    ),
    (
        "text after a quote",
        sheet(HEADER + 'brain,"i.zarr"x,2\n'),
        "sheet.csv line 2 is not CSV (',' expected after '\"'); look for a double quote that is not closed",
    ),
    (
        "byte order mark and CRLF",
        sheet("\ufeff" + (HEADER + ROW).replace("\n", "\r\n")),
        "6x20x24 float32, voxels of 10, 20, 20 um",
    ),
    (
        "spaces around cells",
        sheet("acquisition , image,n_sections\n brain , i.zarr , 2 \n"),
        "6x20x24 float32, voxels of 10, 20, 20 um",
    ),
    (
        "row too long",
        sheet(HEADER + "brain,i.zarr,2,3\n"),
        "samplesheet line 2: 4 cells, the header has 3 columns; put a cell that holds a comma between double quotes",
    ),
    (
        "row too short",
        sheet(HEADER + "brain,i.zarr\n"),
        "samplesheet line 2 (brain): image: n_sections and sections are empty, and the data do not tell where sections begin; give n_sections (1 where the planes are one piece, 6 where every plane is a section), or a CSV file of bounds in the column sections",
    ),
    (
        "row of one cell",
        sheet(HEADER + "brain\n"),
        "samplesheet line 2 (brain): image is empty; give the path of an OME-Zarr",
    ),
    (
        "names twice",
        sheet(HEADER + ROW + "Brain,i.zarr,2\n"),
        "samplesheet lines 2, 3: acquisition 'brain' stands more than once; give each its own name (case does not count)",
    ),
    (
        "no name",
        cells(acquisition=""),
        "samplesheet line 2 (no name): acquisition '' cannot name a folder; use letters, digits, '.', '_', '-', not starting with '.' or '-', and not index.html, pipeline_info, pipeline_info.unfinished, ro-crate-metadata.json",
    ),
    (
        "name with a slash",
        cells(acquisition="../brain"),
        "samplesheet line 2 (../brain): acquisition '../brain' cannot name a folder; use letters, digits, '.', '_', '-', not starting with '.' or '-', and not index.html, pipeline_info, pipeline_info.unfinished, ro-crate-metadata.json",
    ),
    (
        "name with a space",
        cells(acquisition="brain 1"),
        "samplesheet line 2 (brain 1): acquisition 'brain 1' cannot name a folder; use letters, digits, '.', '_', '-', not starting with '.' or '-', and not index.html, pipeline_info, pipeline_info.unfinished, ro-crate-metadata.json",
    ),
    (
        "name with an accent",
        cells(acquisition="brän"),
        "samplesheet line 2 (brän): acquisition 'brän' cannot name a folder; use letters, digits, '.', '_', '-', not starting with '.' or '-', and not index.html, pipeline_info, pipeline_info.unfinished, ro-crate-metadata.json",
    ),
    (
        "name with a dollar",
        cells(acquisition="$(id)"),
        "samplesheet line 2 ($(id)): acquisition '$(id)' cannot name a folder; use letters, digits, '.', '_', '-', not starting with '.' or '-', and not index.html, pipeline_info, pipeline_info.unfinished, ro-crate-metadata.json",
    ),
    (
        "name with a line feed",
        cells(acquisition="a\nb"),
        "samplesheet line 3 ('a\\nb'): acquisition 'a\\nb' cannot name a folder; use letters, digits, '.', '_', '-', not starting with '.' or '-', and not index.html, pipeline_info, pipeline_info.unfinished, ro-crate-metadata.json",
    ),
    (
        "hidden name",
        cells(acquisition=".brain"),
        "samplesheet line 2 (.brain): acquisition '.brain' cannot name a folder; use letters, digits, '.', '_', '-', not starting with '.' or '-', and not index.html, pipeline_info, pipeline_info.unfinished, ro-crate-metadata.json",
    ),
    (
        "name like an option",
        cells(acquisition="-brain"),
        "samplesheet line 2 (-brain): acquisition '-brain' cannot name a folder; use letters, digits, '.', '_', '-', not starting with '.' or '-', and not index.html, pipeline_info, pipeline_info.unfinished, ro-crate-metadata.json",
    ),
    (
        "reserved name",
        cells(acquisition="pipeline_info"),
        "samplesheet line 2 (pipeline_info): acquisition 'pipeline_info' cannot name a folder; use letters, digits, '.', '_', '-', not starting with '.' or '-', and not index.html, pipeline_info, pipeline_info.unfinished, ro-crate-metadata.json",
    ),
    ("no image", cells(image=""), "samplesheet line 2 (brain): image is empty; give the path of an OME-Zarr"),
    (
        "image that is not there",
        cells(image="j.zarr"),
        "samplesheet line 2 (brain): image: /data/j.zarr: no such file or folder; give a path relative to the samplesheet, or absolute",
    ),
    (
        "both kinds of sections",
        cells(sections="s.csv"),
        "samplesheet line 2 (brain): both n_sections and sections are given; give one of them",
    ),
    (
        "no sections",
        cells(n_sections=""),
        "samplesheet line 2 (brain): image: n_sections and sections are empty, and the data do not tell where sections begin; give n_sections (1 where the planes are one piece, 6 where every plane is a section), or a CSV file of bounds in the column sections",
    ),
    (
        "zero sections",
        cells(n_sections=0),
        "samplesheet line 2 (brain): n_sections '0' is refused; give a whole number, 1 or more",
    ),
    (
        "minus one section",
        cells(n_sections=-1),
        "samplesheet line 2 (brain): n_sections '-1' is refused; give a whole number, 1 or more",
    ),
    (
        "half a section",
        cells(n_sections=2.5),
        "samplesheet line 2 (brain): n_sections '2.5' is refused; give a whole number, 1 or more",
    ),
    (
        "sections in words",
        cells(n_sections="two"),
        "samplesheet line 2 (brain): n_sections 'two' is refused; give a whole number, 1 or more",
    ),
    (
        "more sections than planes",
        cells(n_sections=7),
        "samplesheet line 2 (brain): n_sections: 7 sections do not fit 6 planes; give between 1 and 6 sections",
    ),
    ("a section a plane", cells(n_sections=6), "6x20x24 float32, voxels of 10, 20, 20 um"),
    (
        "sections beyond numbers",
        cells(n_sections="9" * 5000),
        "samplesheet line 2 (brain): n_sections '9999999999999999999999999999999999999999...' is refused; give a whole number, 1 or more",
    ),
    (
        "timepoint below zero",
        cells(timepoint=-1),
        "samplesheet line 2 (brain): timepoint '-1' is refused; give a whole number, 0 or more",
    ),
    (
        "timepoint in words",
        cells(timepoint="first"),
        "samplesheet line 2 (brain): timepoint 'first' is refused; give a whole number, 0 or more",
    ),
    (
        "timepoint without such an axis",
        cells(timepoint=0),
        "samplesheet line 2 (brain): image: /data/i.zarr: image of axes z=6, y=20, x=24: timepoint 0 is given, but there is no such axis; leave the samplesheet column empty",
    ),
    (
        "channel without such an axis",
        cells(channel="dapi"),
        "samplesheet line 2 (brain): image: /data/i.zarr: image of axes z=6, y=20, x=24: channel 'dapi' is given, but there is no such axis; leave the samplesheet column empty",
    ),
    (
        "five axes",
        five(),
        "samplesheet line 2 (brain): image: /data/i.zarr: image of axes t=2, c=3, z=6, y=20, x=24: axis 't' has size 2 (0, 1) and no timepoint is selected; fill in the samplesheet column 'timepoint'; axis 'c' has size 3 (0 'dapi', 1 'gfp', 2 '1') and no channel is selected; fill in the samplesheet column 'channel'",
    ),
    (
        "five axes, channel only",
        five(channel="gfp"),
        "samplesheet line 2 (brain): image: /data/i.zarr: image of axes t=2, c=3, z=6, y=20, x=24: axis 't' has size 2 (0, 1) and no timepoint is selected; fill in the samplesheet column 'timepoint'",
    ),
    ("five axes, both", five(channel="gfp", timepoint=1), "6x20x24 uint8, voxels of 10, 20, 20 um"),
    (
        "channel that is none",
        five(channel="gpf", timepoint=0),
        "samplesheet line 2 (brain): image: /data/i.zarr: image of axes t=2, c=3, z=6, y=20, x=24: axis 'c' has size 3 (0 'dapi', 1 'gfp', 2 '1') and channel 'gpf' is none of them; fill in the samplesheet column 'channel'",
    ),
    (
        "channel out of range",
        five(channel=3, timepoint=0),
        "samplesheet line 2 (brain): image: /data/i.zarr: image of axes t=2, c=3, z=6, y=20, x=24: axis 'c' has size 3 (0 'dapi', 1 'gfp', 2 '1') and channel '3' is none of them; fill in the samplesheet column 'channel'",
    ),
    (
        "channel below zero",
        five(channel=-1, timepoint=0),
        "samplesheet line 2 (brain): image: /data/i.zarr: image of axes t=2, c=3, z=6, y=20, x=24: axis 'c' has size 3 (0 'dapi', 1 'gfp', 2 '1') and channel '-1' is none of them; fill in the samplesheet column 'channel'",
    ),
    (
        "channel label that is an index too",
        five(channel="1", timepoint=0),
        "samplesheet line 2 (brain): image: /data/i.zarr: image of axes t=2, c=3, z=6, y=20, x=24: axis 'c' has size 3 (0 'dapi', 1 'gfp', 2 '1') and channel '1' names more than one; fill in the samplesheet column 'channel'",
    ),
    (
        "channel in superscript",
        five(channel="²", timepoint=0),
        "samplesheet line 2 (brain): image: /data/i.zarr: image of axes t=2, c=3, z=6, y=20, x=24: axis 'c' has size 3 (0 'dapi', 1 'gfp', 2 '1') and channel '²' is none of them; fill in the samplesheet column 'channel'",
    ),
    (
        "timepoint out of range",
        five(channel=0, timepoint=2),
        "samplesheet line 2 (brain): image: /data/i.zarr: image of axes t=2, c=3, z=6, y=20, x=24: axis 't' has size 2 (0, 1) and timepoint 2 is none of them; fill in the samplesheet column 'timepoint'",
    ),
]

PARAMETERS: Rows = [
    ("misspelt", given(shrinkfactor=4), "unknown parameter shrinkfactor: did you mean --shrink_factor?"),
    ("of Java's spelling", given(shrinkFactor=4), "unknown parameter shrinkFactor: did you mean --shrink_factor?"),
    ("unknown", given(colour="red"), "unknown parameter colour: `nextflow run . --help` lists them"),
    (
        "no choice",
        given(mode="both"),
        "parameter mode: 'both' is refused ('both' is not one of ['two_pass', 'per_section', 'global']); two_pass: N4 on every section, then one over the stack; per_section or global: only that one",
    ),
    (
        "number too large",
        given(strength=1.5),
        "parameter strength: 1.5 is refused (1.5 is greater than the maximum of 1); Mixes corrected (1) and original (0) voxels",
    ),
    (
        "number below zero",
        given(strength=-0.1),
        "parameter strength: -0.1 is refused (-0.1 is less than the minimum of 0); Mixes corrected (1) and original (0) voxels",
    ),
    (
        "not a number",
        given(strength="nan"),
        "parameter strength: 'nan' is refused ('nan' is not of type 'number'); Mixes corrected (1) and original (0) voxels",
    ),
    (
        "infinite",
        given(spline_distance_section_mm="inf"),
        "parameter spline_distance_section_mm: 'inf' is refused ('inf' is not of type 'number'); Distance of the first level's spline knots within a section, in mm (never fewer than 4 control points); where it is below shading_section_mm it holds along Z only, and XY starts from one span",
    ),
    (
        "zero distance",
        given(spline_distance_section_mm=0),
        "parameter spline_distance_section_mm: 0 is refused (0 is less than or equal to the minimum of 0); Distance of the first level's spline knots within a section, in mm (never fewer than 4 control points); where it is below shading_section_mm it holds along Z only, and XY starts from one span",
    ),
    (
        "word for a number",
        given(strength="strong"),
        "parameter strength: 'strong' is refused ('strong' is not of type 'number'); Mixes corrected (1) and original (0) voxels",
    ),
    (
        "yes for true",
        given(zero_outside_mask="yes"),
        "parameter zero_outside_mask: 'yes' is refused ('yes' is not of type 'boolean'); Set voxels outside the tissue mask to 0 in the result",
    ),
    (
        "half a voxel",
        given(closing_radius=2.5),
        "parameter closing_radius: 2.5 is refused (2.5 is not of type 'integer'); Radius of the disk that closes each plane of the mask, in voxels; 0: none",
    ),
    (
        "two of three",
        given(shrink_factor="4,4"),
        "parameter shrink_factor: '4,4' is refused ([4, 4] is not valid under any of the given schemas); The fit sees every k-th voxel: one number, or z,y,x; auto: from planes per section, voxel size and spline distance",
    ),
    (
        "shrink of zero",
        given(shrink_factor=0),
        "parameter shrink_factor: 0 is refused (0 is less than the minimum of 1); The fit sees every k-th voxel: one number, or z,y,x; auto: from planes per section, voxel size and spline distance",
    ),
    (
        "no iterations",
        given(n_iterations=""),
        "parameter n_iterations: '' is refused ([] should be non-empty); Most iterations of each fitting level, as many levels as numbers, each halves the spline distance; auto: 50 each, as many levels as the finest spans need",
    ),
    (
        "a level of no iterations",
        given(n_iterations="50,0"),
        "parameter n_iterations: '50,0' is refused (0 is less than the minimum of 1); Most iterations of each fitting level, as many levels as numbers, each halves the spline distance; auto: 50 each, as many levels as the finest spans need",
    ),
    (
        "true for a number",
        given(max_fit_voxels=True),
        "parameter max_fit_voxels: True is refused (True is not of type 'integer'); Most samples of one fit; beyond it the shrink grows, which bounds memory",
    ),
    (
        "voxel size of zero",
        given(voxel_size_um="0,1,1"),
        "parameter voxel_size_um: '0,1,1' is refused (0 is less than or equal to the minimum of 0); Voxel size in micrometres, z,y,x or one number; overrides the images' metadata",
    ),
    (
        "voxel size of two",
        given(voxel_size_um="1,1"),
        "parameter voxel_size_um: '1,1' is refused ([1, 1] is not valid under any of the given schemas); Voxel size in micrometres, z,y,x or one number; overrides the images' metadata",
    ),
    (
        "voxel size given",
        given(voxel_size_um="10,2.5,2"),
        "6x20x24 float32, voxels of 10, 2.5, 2 um\nsize: the image is 0.06 x 0.05 x 0.048 mm (z, y, x), its voxels 10 x 2.5 x 2 µm: was one unit taken for another? Lengths of the fits are in mm; --voxel_size_um gives the right size",
    ),
    (
        "version of OME-Zarr",
        given(ome_zarr_version="0.6"),
        "parameter ome_zarr_version: '0.6' is refused ('0.6' is not one of ['0.4', '0.5']); OME-Zarr version written: 0.5 (Zarr v3, sharded) or 0.4 (Zarr v2)",
    ),
    (
        "three at once",
        [given(colour="red", strength=2, mode="x"), cells(image="j.zarr")],
        "unknown parameter colour: `nextflow run . --help` lists them\nparameter mode: 'x' is refused ('x' is not one of ['two_pass', 'per_section', 'global']); two_pass: N4 on every section, then one over the stack; per_section or global: only that one\nparameter strength: 2 is refused (2 is greater than the maximum of 1); Mixes corrected (1) and original (0) voxels\nsamplesheet line 2 (brain): image: /data/j.zarr: no such file or folder; give a path relative to the samplesheet, or absolute",
    ),
    (
        "and a header's fault",
        [given(mod="global"), sheet("acquisition,image,n_section\n" + ROW)],
        "unknown parameter mod: did you mean --mode?\nsamplesheet header: unknown column 'n_section'; did you mean n_sections?\nsamplesheet header: give a column n_sections (a number) or sections (a CSV of z_start,z_stop)",
    ),
]

SECTIONS: Rows = [
    ("sound", sections("z_start,z_stop\n0,2\n2,6\n"), "6x20x24 float32, voxels of 10, 20, 20 um"),
    (
        "not there",
        cells(sections="t.csv", n_sections=None),
        "samplesheet line 2 (brain): sections: /data/t.csv: no such file or folder; give a path relative to the samplesheet, or absolute",
    ),
    (
        "empty",
        sections(""),
        "samplesheet line 2 (brain): sections: the first line must be z_start,z_stop, found nothing",
    ),
    (
        "header only",
        sections("z_start,z_stop\n"),
        "samplesheet line 2 (brain): sections: no sections below the header; give one z_start,z_stop row a section",
    ),
    (
        "another header",
        sections("start,stop\n0,6\n"),
        "samplesheet line 2 (brain): sections: the first line must be z_start,z_stop, found start,stop",
    ),
    (
        "header in another order",
        sections("z_stop,z_start\n6,0\n"),
        "samplesheet line 2 (brain): sections: the first line must be z_start,z_stop, found z_stop,z_start",
    ),
    (
        "gap",
        sections("z_start,z_stop\n0,2\n3,6\n"),
        "samplesheet line 2 (brain): sections: section 1 (3 to 6) leaves out planes 2 to 3; every section starts where the one before it stops, the first at 0",
    ),
    (
        "overlap",
        sections("z_start,z_stop\n0,3\n2,6\n"),
        "samplesheet line 2 (brain): sections: section 1 (2 to 6) overlaps planes 2 to 3; every section starts where the one before it stops, the first at 0",
    ),
    (
        "not from the first plane",
        sections("z_start,z_stop\n1,6\n"),
        "samplesheet line 2 (brain): sections: section 0 (1 to 6) leaves out planes 0 to 1; every section starts where the one before it stops, the first at 0",
    ),
    (
        "short of the last plane",
        sections("z_start,z_stop\n0,5\n"),
        "samplesheet line 2 (brain): sections: the sections end at plane 5, the volume has 6 planes; they must agree",
    ),
    (
        "beyond the last plane",
        sections("z_start,z_stop\n0,7\n"),
        "samplesheet line 2 (brain): sections: the sections end at plane 7, the volume has 6 planes; they must agree",
    ),
    (
        "backwards",
        sections("z_start,z_stop\n0,4\n4,2\n"),
        "samplesheet line 2 (brain): sections: section 1 (4 to 2) holds no plane; z_stop must exceed z_start",
    ),
    (
        "without a plane",
        sections("z_start,z_stop\n0,0\n0,6\n"),
        "samplesheet line 2 (brain): sections: section 0 (0 to 0) holds no plane; z_stop must exceed z_start",
    ),
    (
        "below zero",
        sections("z_start,z_stop\n-1,6\n"),
        "samplesheet line 2 (brain): sections: a bound of section 0 is -1; give a whole number of at least 0",
    ),
    (
        "in words",
        sections("z_start,z_stop\n0,two\n"),
        "samplesheet line 2 (brain): sections: line 2: '0,two' is not two whole numbers (z_start,z_stop)",
    ),
    (
        "halves",
        sections("z_start,z_stop\n0,2.5\n"),
        "samplesheet line 2 (brain): sections: line 2: '0,2.5' is not two whole numbers (z_start,z_stop)",
    ),
    (
        "with an underscore",
        sections("z_start,z_stop\n0,0_6\n"),
        "samplesheet line 2 (brain): sections: line 2: '0,0_6' is not two whole numbers (z_start,z_stop)",
    ),
    (
        "three columns",
        sections("z_start,z_stop\n0,6,1\n"),
        "samplesheet line 2 (brain): sections: line 2: '0,6,1' is not two whole numbers (z_start,z_stop)",
    ),
    (
        "one column",
        sections("z_start,z_stop\n6\n"),
        "samplesheet line 2 (brain): sections: line 2: '6' is not two whole numbers (z_start,z_stop)",
    ),
    (
        "beyond numbers",
        sections(f"z_start,z_stop\n0,{'9' * 5000}\n"),
        "samplesheet line 2 (brain): sections: line 2: '0,99999999999999999999999999999999999999...' is not two whole numbers (z_start,z_stop)",
    ),
    (
        "not UTF-8",
        sections("z_start,z_stop\n0,6 µ\n".encode("latin-1")),
        "samplesheet line 2 (brain): sections: s.csv is not a CSV file in UTF-8 ('utf-8' codec can't decode byte 0xb5 in position 19: invalid start byte); save it as one",
    ),
    (
        "a folder",
        cells(sections="i.zarr", n_sections=None),
        "samplesheet line 2 (brain): sections: i.zarr cannot be read (Is a directory); give a CSV file",
    ),
]

HALF = volume() > volume().size / 2
MASKS: Rows = [
    ("sound", mask(HALF), "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("of bytes without a unit", mask(HALF.astype(np.uint8), unit=None), "6x20x24 float32, voxels of 10, 20, 20 um"),
    (
        "not there",
        cells(mask="n.zarr"),
        "samplesheet line 2 (brain): mask: /data/n.zarr: no such file or folder; give a path relative to the samplesheet, or absolute",
    ),
    (
        "of another shape",
        mask(HALF[:, :-1]),
        "samplesheet line 2 (brain): mask has shape (6, 19, 24), image (6, 20, 24) (z, y, x); give a mask on the image's grid",
    ),
    (
        "of fewer planes",
        mask(HALF[3:]),
        "samplesheet line 2 (brain): mask has shape (3, 20, 24), image (6, 20, 24) (z, y, x); give a mask on the image's grid",
    ),
    (
        "a file",
        [on_disk(lambda case: (case.folder / "m.zarr").write_text("")), cells(mask="m.zarr")],
        "samplesheet line 2 (brain): mask: /data/m.zarr: this is a file, an OME-Zarr image is a folder; name the folder of the image",
    ),
    (
        "no image",
        [on_disk(lambda case: zarr.open_group(case.folder / "m.zarr", mode="w")), cells(mask="m.zarr")],
        "samplesheet line 2 (brain): mask: /data/m.zarr: a Zarr v3 group without 'ome' metadata is no OME-Zarr image; check the path, or copy the store again",
    ),
    (
        "complex",
        mask(HALF.astype(np.complex64)),
        "samplesheet line 2 (brain): mask: /data/m.zarr/s0: voxels of type complex64 are refused; integers or real numbers are needed",
    ),
    (
        "of two channels",
        mask(np.ones((2, *SHAPE), bool), axes="czyx"),
        "samplesheet line 2 (brain): mask: /data/m.zarr: image of axes c=2, z=6, y=20, x=24: axis 'c' has size 2 (0, 1) and no channel is selected; fill in the samplesheet column 'channel'",
    ),
    (
        "nothing stored",
        mask(np.zeros(SHAPE, bool)),
        "samplesheet line 2 (brain): mask: /data/m.zarr/s0: none of its 6 chunks is there: looked for c/0/0/0 and the like, found no file; copy the store again",
    ),
    ("without tissue, stored", mask(np.zeros(SHAPE, bool), config=KEPT), "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("chunks lost, to be warned of", mask(HALF), "6x20x24 float32, voxels of 10, 20, 20 um"),
    (
        "chunks lost, to be refused",
        [mask(HALF), given(missing_chunks="error")],
        "samplesheet line 2 (brain): mask: 2 of 6 chunks are not there and read as the fill value; copy the store again, or let them pass with --missing_chunks warn",
    ),
    (
        "links to nothing",
        [mask(HALF), on_disk(lambda case: dangling(case.folder / "m.zarr/s0/c/2/0/1"))],
        "6x20x24 float32, voxels of 10, 20, 20 um\nmissing_chunks: chunks of the mask are read as the fill value (symbolic links to nothing: s0/c/2/0/1); copy the files themselves",
    ),
]

METADATA: Rows = [
    ("0.4", image(**V4), "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("0.4 with channels", [image(np.ones((2, *SHAPE), "u2"), axes="czyx", **V4), cells(channel=1)], "6x20x24 uint16, voxels of 10, 20, 20 um"),
    ("axes x, y, z", image(np.ones((24, 20, 6), "u2"), axes="xyz", chunks=(12, 20, 2), voxel_um=(20, 20, 10)), "6x20x24 uint16, voxels of 10, 20, 20 um"),
    ("big-endian", image(volume().astype(">f4"), **V4), "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("order F", image(order="F", **V4), "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("a file", [
        on_disk(lambda case: (case.folder / "f.zarr").write_text("")), cells(image="f.zarr")], "samplesheet line 2 (brain): image: /data/f.zarr: this is a file, an OME-Zarr image is a folder; name the folder of the image"),
    ("a zip file", [on_disk(lambda case: (case.folder / "f.zip").write_text("")), cells(image="f.zip")], "samplesheet line 2 (brain): image: /data/f.zip: this is a file, an OME-Zarr image is a folder; unpack it"),
    ("an empty folder", [on_disk(lambda case: (case.folder / "e.zarr").mkdir()), cells(image="e.zarr")], "samplesheet line 2 (brain): image: /data/e.zarr: no OME-Zarr image: it holds neither zarr.json nor .zattrs; check the path, or copy the store again"),
    ("an array", cells(image="i.zarr/s0"), "samplesheet line 2 (brain): image: /data/i.zarr/s0: this is a Zarr array, not an image group; name the folder above it"),
    ("an array of 0.4", [image(**V4), cells(image="i.zarr/s0")], "samplesheet line 2 (brain): image: /data/i.zarr/s0: this is a Zarr array, not an image group; name the folder above it"),
    ("a folder of images", cells(image="."), "samplesheet line 2 (brain): image: /data/.: no OME-Zarr image: it holds neither zarr.json nor .zattrs; name one of the groups in it: i.zarr"),
    ("a group without metadata", group(lambda ome: ome.clear()), "samplesheet line 2 (brain): image: /data/i.zarr: no image in it: 'multiscales' is missing or empty, or no list; check the path, or copy the store again"),
    ("zarr.json cut", on_disk(lambda case: truncate(case.image / "zarr.json")), "samplesheet line 2 (brain): image: /data/i.zarr/zarr.json: is not valid JSON (Unterminated string starting at: line 22 column 15 (char 463)); copy the store again"),
    ("zarr.json empty", on_disk(lambda case: emptied(case.image / "zarr.json")), "samplesheet line 2 (brain): image: /data/i.zarr/zarr.json: is not valid JSON (Expecting value: line 1 column 1 (char 0)); copy the store again"),
    ("zarr.json a list", on_disk(lambda case: (case.image / "zarr.json").write_text("[]")), "samplesheet line 2 (brain): image: /data/i.zarr/zarr.json: does not hold a JSON object; copy the store again"),
    ("zarr.json in Latin-1", on_disk(lambda case: (case.image / "zarr.json").write_bytes(b'{"\xb5": 1}')), "samplesheet line 2 (brain): image: /data/i.zarr/zarr.json: is not valid JSON ('utf-8' codec can't decode byte 0xb5 in position 2: invalid start byte); copy the store again"),
    ("zarr.json a pipe", on_disk(lambda case: fifo(case.image / "zarr.json")), "samplesheet line 2 (brain): image: /data/i.zarr/zarr.json: is no file of metadata (at most 8388608 bytes); copy the store again"),
    ("zarr.json a folder", on_disk(lambda case: folder(case.image / "zarr.json")), "samplesheet line 2 (brain): image: /data/i.zarr/zarr.json: is no file of metadata (at most 8388608 bytes); copy the store again"),
    ("zarr.json nested without end", on_disk(lambda case: (case.image / "zarr.json").write_text("[" * 200_000)), "samplesheet line 2 (brain): image: /data/i.zarr/zarr.json: is not valid JSON (maximum recursion depth exceeded while decoding a JSON array from a unicode string); copy the store again"),
    ("zarr.json gone", on_disk(lambda case: (case.image / "zarr.json").unlink()), "samplesheet line 2 (brain): image: /data/i.zarr: no OME-Zarr image: it holds neither zarr.json nor .zattrs; check the path, or copy the store again"),
    (".zattrs cut", [image(**V4), on_disk(lambda case: truncate(case.image / ".zattrs"))], "samplesheet line 2 (brain): image: /data/i.zarr/.zattrs: is not valid JSON (Unterminated string starting at: line 19 column 19 (char 344)); copy the store again"),
    (".zattrs gone", [image(**V4), on_disk(lambda case: (case.image / ".zattrs").unlink())], "samplesheet line 2 (brain): image: /data/i.zarr: no image in it: 'multiscales' is missing or empty, or no list; check the path, or copy the store again"),
    (".zgroup gone", [image(**V4), on_disk(lambda case: (case.image / ".zgroup").unlink())], "6x20x24 float32, voxels of 10, 20, 20 um"),
    (".zarray gone", [image(**V4), on_disk(lambda case: (case.image / "s0/.zarray").unlink())], "samplesheet line 2 (brain): image: /data/i.zarr/s0: this level is listed in the metadata, but no Zarr v2 array is there; copy it again"),
    (".zarray cut", [image(**V4), on_disk(lambda case: truncate(case.image / "s0/.zarray"))], "samplesheet line 2 (brain): image: /data/i.zarr/s0: the array cannot be opened (JSONDecodeError: Unterminated string starting at: line 16 column 3 (char 159)); correct its metadata"),
    ("attributes a list", edited(lambda case: case.image / "zarr.json", lambda d: d.update(attributes=[1])), "samplesheet line 2 (brain): image: /data/i.zarr: a Zarr v3 group without 'ome' metadata is no OME-Zarr image; check the path, or copy the store again"),
    ("ome a list", edited(lambda case: case.image / "zarr.json", lambda d: d.update(attributes={"ome": []})), "samplesheet line 2 (brain): image: /data/i.zarr: a Zarr v3 group without 'ome' metadata is no OME-Zarr image; check the path, or copy the store again"),
    ("multiscales outside ome", edited(lambda case: case.image / "zarr.json", lambda d: d.update(
        attributes={"multiscales": d["attributes"]["ome"]["multiscales"]})), "samplesheet line 2 (brain): image: /data/i.zarr: Zarr v3 with 'multiscales' outside 'ome' is neither OME-Zarr 0.4 nor 0.5; write it again"),
    ("version 0.6", group(lambda ome: ome.update(version="0.6")), "samplesheet line 2 (brain): image: /data/i.zarr: OME-Zarr '0.6' on Zarr v3 cannot be read, only 0.5; convert it to 0.5"),
    ("version 0.3", [image(**V4), multiscale(version="0.3")], "samplesheet line 2 (brain): image: /data/i.zarr: OME-Zarr version '0.3' cannot be read, only 0.4 and 0.5; convert it"),
    ("multiscales empty", group(lambda ome: ome.update(multiscales=[])), "samplesheet line 2 (brain): image: /data/i.zarr: no image in it: 'multiscales' is missing or empty, or no list; check the path, or copy the store again"),
    ("multiscales of text", group(lambda ome: ome.update(multiscales="all")), "samplesheet line 2 (brain): image: /data/i.zarr: no image in it: 'multiscales' is missing or empty, or no list; check the path, or copy the store again"),
    ("multiscales an object", group(lambda ome: ome.update(multiscales={"a": 1})), "samplesheet line 2 (brain): image: /data/i.zarr: no image in it: 'multiscales' is missing or empty, or no list; check the path, or copy the store again"),
    ("multiscales of numbers", group(lambda ome: ome.update(multiscales=[1])), "samplesheet line 2 (brain): image: /data/i.zarr: 'multiscales' does not hold an object; write the metadata again"),
    ("a plate", group(lambda ome: ome.update(plate={}) or ome.pop("multiscales")), "samplesheet line 2 (brain): image: /data/i.zarr: 'plate' metadata, but no image ('multiscales'); name one image of the plate (row/column/field)"),
    ("a well", group(lambda ome: ome.update(well={}) or ome.pop("multiscales")), "samplesheet line 2 (brain): image: /data/i.zarr: 'well' metadata, but no image ('multiscales'); name one field of the well"),
    ("axes of names alone", multiscale(axes=["z", "y", "x"]), "samplesheet line 2 (brain): image: /data/i.zarr: invalid OME-Zarr 0.5 metadata in multiscales[0].axes.0: Input should be a valid dictionary or instance of Axis; correct the metadata"),
    ("no axes", multiscale(lambda entry: entry.pop("axes")), "samplesheet line 2 (brain): image: /data/i.zarr: invalid OME-Zarr 0.5 metadata in multiscales[0].axes: Field required; correct the metadata"),
    ("two axes", one_plane_image, "samplesheet line 2 (brain): image: /data/i.zarr: a 2-D image (axes yx); a volume with axes z, y and x is needed: stack the planes"),
    ("axis without a type", axis(0, type=None), "samplesheet line 2 (brain): image: /data/i.zarr: axes of types z: None, y: space, x: space; write the type space for z, y and x into the metadata"),
    ("axis of an unknown type", axis(0, type="depth"), "samplesheet line 2 (brain): image: /data/i.zarr: axes of types z: depth, y: space, x: space; write the type space for z, y and x into the metadata"),
    ("axis of another name", axis(0, name="depth"), "samplesheet line 2 (brain): image: /data/i.zarr: the axes of type space are named depth, y, x; rename them z, y and x in the metadata"),
    ("axis name in capitals", axis(0, name="Z"), "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("axis name twice", axis(0, name="y"), "samplesheet line 2 (brain): image: /data/i.zarr: invalid OME-Zarr 0.5 metadata in multiscales[0].axes: Axis names must be unique. Got ['y', 'y', 'x']; correct the metadata"),
    ("no unit", image(unit=None), "samplesheet line 2 (brain): image: /data/i.zarr: axis 'z' has no unit; correct the metadata or give voxel_size_um (z, y, x)"),
    ("no unit, voxel size given", [image(unit=None), given(voxel_size_um=5)], "6x20x24 float32, voxels of 5, 5, 5 um\nsize: the image is 0.03 x 0.1 x 0.12 mm (z, y, x), its voxels 5 x 5 x 5 µm: was one unit taken for another? Lengths of the fits are in mm; --voxel_size_um gives the right size"),
    ("unit pixel", image(unit="pixel"), "samplesheet line 2 (brain): image: /data/i.zarr: axis 'z' has the unit 'pixel', no NGFF unit of length; correct the metadata or give voxel_size_um (z, y, x)"),
    ("unit of one axis a number", axis(1, unit=5), "samplesheet line 2 (brain): image: /data/i.zarr: axis 'y' has no unit; correct the metadata or give voxel_size_um (z, y, x)"),
    ("units mixed", axis(0, unit="nanometer"), "6x20x24 float32, voxels of 0.01, 20, 20 um"),
    ("unit um", image(unit="um"), "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("no datasets", multiscale(datasets=[]), "samplesheet line 2 (brain): image: /data/i.zarr: invalid OME-Zarr 0.5 metadata in multiscales[0].datasets: Tuple should have at least 1 item after validation, not 0; correct the metadata"),
    ("dataset without a path", multiscale(lambda entry: entry["datasets"][0].pop("path")), "samplesheet line 2 (brain): image: /data/i.zarr: invalid OME-Zarr 0.5 metadata in multiscales[0].datasets.0.path: Field required; correct the metadata"),
    ("path of a level that is not there", multiscale(lambda entry: entry["datasets"][0].update(path="s9")), "samplesheet line 2 (brain): image: /data/i.zarr/s9: this level is listed in the metadata, but no Zarr v3 array is there; copy it again"),
    ("path out of the image", multiscale(lambda entry: entry["datasets"][0].update(path="../i.zarr/s0")), "samplesheet line 2 (brain): image: /data/i.zarr: the path '../i.zarr/s0' in the metadata leads out of the image; correct it"),
    ("path from the root", multiscale(lambda entry: entry["datasets"][0].update(path="/tmp")), "samplesheet line 2 (brain): image: /data/i.zarr: the path '/tmp' in the metadata leads out of the image; correct it"),
    ("path empty", multiscale(lambda entry: entry["datasets"][0].update(path="")), "samplesheet line 2 (brain): image: /data/i.zarr: the path '' in the metadata leads out of the image; correct it"),
    ("no transformations", transformations(), "samplesheet line 2 (brain): image: /data/i.zarr: invalid OME-Zarr 0.5 metadata in multiscales[0].datasets.0.coordinateTransformations: Length of transforms (0) not valid. Allowed lengths are [1, 2]; correct the metadata"),
    ("translation only", transformations({"type": "translation", "translation": [0, 0, 0]}), "samplesheet line 2 (brain): image: /data/i.zarr: invalid OME-Zarr 0.5 metadata in multiscales[0].datasets.0.coordinateTransformations: Expected a scale or (scale, translation) transform. Got ('translation',) instead; correct the metadata"),
    ("translation first", transformations(
        {"type": "translation", "translation": [0, 0, 0]}, {"type": "scale", "scale": [1, 1, 1]}), "samplesheet line 2 (brain): image: /data/i.zarr: invalid OME-Zarr 0.5 metadata in multiscales[0].datasets.0.coordinateTransformations: Expected a scale or (scale, translation) transform. Got ('translation', 'scale') instead; correct the metadata"),
    ("scale of two", transformations({"type": "scale", "scale": [1, 1]}), "samplesheet line 2 (brain): image: /data/i.zarr: invalid OME-Zarr 0.5 metadata in multiscales[0]: The length of axes does not match the dimensionality of the scale transform in datasets[0].coordinateTransformations. Got 3 axes, but the scale transform has dimensionality 2; correct the metadata"),
    ("scale in words", transformations({"type": "scale", "scale": ["a", "b", "c"]}), "samplesheet line 2 (brain): image: /data/i.zarr: invalid OME-Zarr 0.5 metadata in multiscales[0].datasets.0.coordinateTransformations.0.VectorScale.scale.0: Input should be a valid number, unable to parse string as a number; correct the metadata"),
    ("scale of zero", transformations({"type": "scale", "scale": [0, 1, 1]}), "samplesheet line 2 (brain): image: /data/i.zarr: scale [0.0, 1.0, 1.0]: finite numbers are needed, a scale above 0; correct the metadata"),
    ("scale below zero", transformations({"type": "scale", "scale": [-1, 1, 1]}), "samplesheet line 2 (brain): image: /data/i.zarr: scale [-1.0, 1.0, 1.0]: finite numbers are needed, a scale above 0; correct the metadata"),
    ("scale that is no number", transformations({"type": "scale", "scale": [float("nan"), 1, 1]}), "samplesheet line 2 (brain): image: /data/i.zarr: scale [nan, 1.0, 1.0]: finite numbers are needed, a scale above 0; correct the metadata"),
    ("scale beyond numbers", transformations({"type": "scale", "scale": [10**400, 1, 1]}), "samplesheet line 2 (brain): image: /data/i.zarr: invalid OME-Zarr 0.5 metadata in multiscales[0].datasets.0.coordinateTransformations.0.VectorScale.scale.0: Input should be a valid number; correct the metadata"),
    ("scale in a file", transformations({"type": "scale", "path": "scale"}), "samplesheet line 2 (brain): image: /data/i.zarr: the scale is kept in a file, which is not read; write the numbers here"),
    ("rotation", transformations({"type": "rotation", "rotation": [1, 0, 0]}), "samplesheet line 2 (brain): image: /data/i.zarr: invalid OME-Zarr 0.5 metadata in multiscales[0].datasets.0.coordinateTransformations.transforms.0.type: Input should be 'identity', 'scale' or 'translation'; correct the metadata"),
    ("scale of the group of two", multiscale(coordinateTransformations=[{"type": "scale", "scale": [1, 1]}]), "samplesheet line 2 (brain): image: /data/i.zarr: invalid OME-Zarr 0.5 metadata in multiscales[0]: The length of axes does not match the dimensionality of the scale transform in coordinateTransformations. Got 3 axes, but the scale transform has dimensionality 2; correct the metadata"),
    ("scale of the group", multiscale(coordinateTransformations=[{"type": "scale", "scale": [2, 1, 1]}]), "6x20x24 float32, voxels of 20, 20, 20 um"),
    ("name a list", multiscale(name=[1]), "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("omero of numbers", group(lambda ome: ome.update(omero={"channels": 3})), "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("omero a list", group(lambda ome: ome.update(omero=[1])), "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("levels in the wrong order", [levels((3, 10, 12)), multiscale(lambda entry: entry["datasets"].reverse())], "samplesheet line 2 (brain): image: /data/i.zarr: invalid OME-Zarr 0.5 metadata in multiscales[0].datasets: Dataset 0 has a lower resolution (scales = [20.0, 40.0, 40.0]) than dataset 1 (scales = [10.0, 20.0, 20.0]); correct the metadata"),
    ("a level larger than the one before", levels((3, 10, 12), (6, 10, 12)), "samplesheet line 2 (brain): image: /data/i.zarr: level s2 of shape (6, 10, 12) is listed after s1 of shape (3, 10, 12); list the levels in the metadata from the finest to the coarsest"),
    ("one level twice", multiscale(lambda entry: entry["datasets"].append(entry["datasets"][0])), "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("a level of other axes", [levels((3, 10, 12)), on_disk(lambda case: zarr.create_array(
        case.image / "s1", data=np.ones((3, 10)), overwrite=True))], "samplesheet line 2 (brain): image: /data/i.zarr/s1: the array has 2 dimensions, the metadata 3 axes (zyx); correct one"),
    ("bioformats2raw of one series", bioformats(["0"], "0"), "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("bioformats2raw of two series", bioformats(["0", "1"], "0", "1"), "samplesheet line 2 (brain): image: /data/b.zarr: bioformats2raw layout with 2 series (0, 1); name one, such as /data/b.zarr/0"),
    ("bioformats2raw without a list", bioformats(None, "0"), "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("bioformats2raw with a number", bioformats(7, "0"), "samplesheet line 2 (brain): image: /data/b.zarr/OME: 'series' is 7; write a list of the series' names"),
    ("bioformats2raw that leads out", bioformats(["../i.zarr"], "0"), "samplesheet line 2 (brain): image: /data/b.zarr: the path '../i.zarr' in the metadata leads out of the image; correct it"),
    ("array of another format", [image(**V4), renamed("s0/.zarray", "s0/zarr.json")], "samplesheet line 2 (brain): image: /data/i.zarr/s0: this level is listed in the metadata, but no Zarr v2 array is there; copy it again"),
    ("array without a shape", array(lambda document: document.pop("shape")), "samplesheet line 2 (brain): image: /data/i.zarr/s0: the array cannot be opened (KeyError: 'shape'); correct its metadata"),
    ("shape of two", array(shape=[20, 24]), "samplesheet line 2 (brain): image: /data/i.zarr/s0: the array cannot be opened (ValueError: `chunk_shape` and `shape` need to have the same number of dimensions.); correct its metadata"),
    ("no planes", array(shape=[0, 20, 24]), "samplesheet line 2 (brain): image: /data/i.zarr/s0: the array has shape (0, 20, 24) in chunks of (2, 20, 12): no voxels in it; write it again"),
    ("planes below zero", array(shape=[-6, 20, 24]), "samplesheet line 2 (brain): image: /data/i.zarr/s0: the array cannot be opened (ValueError: Expected all values to be non-negative. Got [-6, 20, 24] instead.); correct its metadata"),
    ("half a plane", array(shape=[5.5, 20, 24]), "samplesheet line 2 (brain): image: /data/i.zarr/s0: the array cannot be opened (TypeError: Expected an iterable of integers. Got [5.5, 20, 24] instead.); correct its metadata"),
    ("shape in words", array(shape="6,20,24"), "samplesheet line 2 (brain): image: /data/i.zarr/s0: the array cannot be opened (TypeError: Expected an iterable of integers. Got 6,20,24 instead.); correct its metadata"),
    ("a claim of 1e12 planes", array(shape=[10**12, 20, 24]), "samplesheet line 2 (brain): image: /data/i.zarr/s0: the metadata tells of 1000000000000 planes of 20 x 24 voxels, more than 1000000 planes or 4294967296 voxels in one; correct it, or cut the image into parts"),
    ("a claim of 1e12 rows", array(shape=[6, 10**12, 24]), "samplesheet line 2 (brain): image: /data/i.zarr/s0: the metadata tells of 6 planes of 1000000000000 x 24 voxels, more than 1000000 planes or 4294967296 voxels in one; correct it, or cut the image into parts"),
    ("a claim of 1e9 chunks", array(shape=[999_999, 20_000, 24_000]), "samplesheet line 2 (brain): image: /data/i.zarr/s0: the metadata tells of 1000000000000 chunks of one volume (shape (999999, 20000, 24000), chunks (2, 20, 12)), more than 268435456; correct it, or write the image with larger chunks"),
    ("a claim beyond 64 bits", array(shape=[10**30, 20, 24]), "samplesheet line 2 (brain): image: /data/i.zarr/s0: the metadata tells of 1000000000000000000000000000000 planes of 20 x 24 voxels, more than 1000000 planes or 4294967296 voxels in one; correct it, or cut the image into parts"),
    ("chunks of zero", [image(**V4), array(chunks=[0, 20, 12])], "samplesheet line 2 (brain): image: /data/i.zarr/s0: the array has shape (6, 20, 24) in chunks of (0, 20, 12): no voxels in it; write it again"),
    ("chunks of 1e12 planes", [image(**V4), array(chunks=[10**12, 20, 12])], "samplesheet line 2 (brain): image: /data/i.zarr/s0: the metadata tells of chunks of (1000000000000, 20, 12) voxels (z, y, x), 960000000000000 bytes each, more than 4294967296; correct it, or write the image with smaller chunks"),
    ("no type", array(lambda document: document.pop("data_type")), "samplesheet line 2 (brain): image: /data/i.zarr/s0: the array cannot be opened (KeyError: 'data_type'); correct its metadata"),
    ("unknown type", array(data_type="float7"), "samplesheet line 2 (brain): image: /data/i.zarr/s0: the array cannot be opened (ValueError: No Zarr data type found that matches 'float7'); correct its metadata"),
    ("complex", image(volume().astype("c8")), "samplesheet line 2 (brain): image: /data/i.zarr/s0: voxels of type complex64 are refused; integers or real numbers are needed"),
    ("bool", image(volume() > 9), "samplesheet line 2 (brain): image: /data/i.zarr/s0: voxels of type bool are refused; integers or real numbers are needed"),
    ("text", [image(**V4), array(dtype="|S4", fill_value="")], "samplesheet line 2 (brain): image: /data/i.zarr/s0: voxels of type |S4 are refused; integers or real numbers are needed"),
    ("objects", [image(**V4), array(dtype="|O")], "samplesheet line 2 (brain): image: /data/i.zarr/s0: the array cannot be opened (ValueError: No Zarr data type found that matches {'name': '|O', 'object_codec_id': None}); correct its metadata"),
    ("dates", [image(**V4), array(dtype="<M8[s]")], "samplesheet line 2 (brain): image: /data/i.zarr/s0: the array cannot be opened (TypeError: Invalid type: 0.0. Expected an integer.); correct its metadata"),
    ("records", [image(**V4), array(dtype=[["a", "<f4"]], fill_value=None)], "samplesheet line 2 (brain): image: /data/i.zarr/s0: voxels of type [('a', '<f4')] are refused; integers or real numbers are needed"),
    ("unknown codec", array(codecs=[{"name": "jpeg7"}]), "samplesheet line 2 (brain): image: /data/i.zarr/s0: the array cannot be opened (UnknownCodecError: Unknown codec: 'jpeg7'); correct its metadata"),
    ("no codecs", array(codecs=[]), "samplesheet line 2 (brain): image: /data/i.zarr/s0: the array cannot be opened (ValueError: At least one ArrayBytesCodec is required.); correct its metadata"),
    ("unknown compressor", [image(**V4), array(compressor={"id": "jpeg7"})], "samplesheet line 2 (brain): image: /data/i.zarr/s0: the array cannot be opened (UnknownCodecError: codec not available: ''jpeg7''); correct its metadata"),
    ("unknown filter", [image(**V4), array(filters=[{"id": "wavelet"}])], "samplesheet line 2 (brain): image: /data/i.zarr/s0: the array cannot be opened (UnknownCodecError: codec not available: ''wavelet''); correct its metadata"),
    ("unknown order", [image(**V4), array(order="Z")], "samplesheet line 2 (brain): image: /data/i.zarr/s0: the array cannot be opened (ValueError: Expected one of ('C', 'F'), got Z instead.); correct its metadata"),
    ("unknown separator", [image(**V4), array(dimension_separator="-")], "samplesheet line 2 (brain): image: /data/i.zarr/s0: the array cannot be opened (ValueError: Expected an '.' or '/' separator. Got - instead.); correct its metadata"),
    ("unknown names of chunks", array(chunk_key_encoding={"name": "hilbert"}), "samplesheet line 2 (brain): image: /data/i.zarr/s0: the array cannot be opened (ValueError: Unknown chunk key encoding: \"Chunk key encoding 'hilbert' not found in registered chunk key encodings: ['default', 'v2'].\"); correct its metadata"),
    ("a fill value of text", array(fill_value="grey"), "samplesheet line 2 (brain): image: /data/i.zarr/s0: the array cannot be opened (TypeError: Invalid type: grey. Expected a float or a special string encoding of a float.); correct its metadata"),
    ("a fill value that is no number", array(fill_value="NaN"), "6x20x24 float32, voxels of 10, 20, 20 um"),
]  # fmt: skip

STORED: Rows = [
    ("one lost", chunk("1/0/0", Path.unlink), "6x20x24 float32, voxels of 10, 20, 20 um, 1 chunks missing"),
    ("one lost, to be refused", [chunk("1/0/0", Path.unlink), given(missing_chunks="error")], "samplesheet line 2 (brain): image: 1 of 6 chunks are not there and read as the fill value; copy the store again, or let them pass with --missing_chunks warn"),
    ("one lost of 0.4", [image(**V4), chunk("1/0/0", Path.unlink)], "6x20x24 float32, voxels of 10, 20, 20 um, 1 chunks missing"),
    ("one zero, never stored", image(np.where(volume() > 960, volume(), 0)), "6x20x24 float32, voxels of 10, 20, 20 um, 2 chunks missing"),
    ("all lost", all_chunks(Path.unlink), "samplesheet line 2 (brain): image: /data/i.zarr/s0: none of its 6 chunks is there: looked for c/0/0/0 and the like, found no file; copy the store again"),
    ("all zero, never stored", image(np.zeros(SHAPE, np.float32)), "samplesheet line 2 (brain): image: /data/i.zarr/s0: none of its 6 chunks is there: looked for c/0/0/0 and the like, found no file; copy the store again"),
    ("all zero, stored", whole(np.zeros(SHAPE, np.float32)), "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("none of this channel", [image(np.stack([volume(), 0 * volume()]), axes="czyx"), cells(channel=1)], "samplesheet line 2 (brain): image: /data/i.zarr/s0: none of its 6 chunks is there: looked for c/1/0/0/0 and the like, found c/0/0/0/0, c/0/0/0/1, c/0/1/0/0; copy the store again, or select another channel or timepoint"),
    ("nested without a separator", nested_without_separator, 'samplesheet line 2 (brain): image: /data/i.zarr/s0: none of its 6 chunks is there: looked for 0.0.0 and the like, found 0/0/0, 0/0/1, 1/0/0; write "dimension_separator": "/" into s0/.zarray'),
    ("flat with a separator", [image(**V4), *(
        renamed(f"s0/{z}/0/{x}", f"s0/{z}.0.{x}") for z in range(3) for x in range(2))], 'samplesheet line 2 (brain): image: /data/i.zarr/s0: none of its 6 chunks is there: looked for 0/0/0 and the like, found 0.0.0, 0.0.1, 1.0.0; write "dimension_separator": "." into s0/.zarray'),
    ("nested without c", [renamed(f"s0/c/{z}", f"s0/{z}") for z in range(3)], 'samplesheet line 2 (brain): image: /data/i.zarr/s0: none of its 6 chunks is there: looked for c/0/0/0 and the like, found 0/0/0, 0/0/1, 1/0/0; write "chunk_key_encoding": {"name": "v2", "configuration": {"separator": "/"}} into s0/zarr.json'),
    ("flat with c", [renamed(f"s0/c/{z}/0/{x}", f"s0/c.{z}.0.{x}") for z in range(3) for x in range(2)], 'samplesheet line 2 (brain): image: /data/i.zarr/s0: none of its 6 chunks is there: looked for c/0/0/0 and the like, found c.0.0.0, c.0.0.1, c.1.0.0; write "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}} into s0/zarr.json'),
    ("with endings", all_chunks(lambda file: file.rename(file.with_suffix(".gz"))), "samplesheet line 2 (brain): image: /data/i.zarr/s0: none of its 6 chunks is there: looked for c/0/0/0 and the like, found c/0/0/0.gz, c/0/0/1.gz, c/1/0/0.gz; copy the store again"),
    ("a link to nothing", chunk("1/0/1", dangling), "6x20x24 float32, voxels of 10, 20, 20 um, 1 chunks missing\nmissing_chunks: chunks of the image are read as the fill value (symbolic links to nothing: s0/c/1/0/1); copy the files themselves"),
    ("a link to nothing, to be refused", [chunk("1/0/1", dangling), given(missing_chunks="error")], "samplesheet line 2 (brain): image: 1 of 6 chunks are not there and read as the fill value (symbolic links to nothing: s0/c/1/0/1); copy the store again, or let them pass with --missing_chunks warn"),
    ("all links to nothing", all_chunks(dangling), "samplesheet line 2 (brain): image: /data/i.zarr/s0: none of its 6 chunks is there: looked for c/0/0/0 and the like, found c/0/0/0, c/0/0/1, c/1/0/0; s0/c/0/0/0 is a symbolic link to nothing: copy the files themselves"),
    ("all but one links to nothing", [chunk("0/0/0", lambda f: f.rename(f.parents[5] / "kept")), all_chunks(dangling),
        on_disk(lambda case: (case.folder / "kept").rename(case.chunk("0/0/0")))], "6x20x24 float32, voxels of 10, 20, 20 um, 5 chunks missing\nmissing_chunks: chunks of the image are read as the fill value (symbolic links to nothing: s0/c/0/0/1, s0/c/1/0/0, s0/c/1/0/1 and 2 more); copy the files themselves"),
    ("a folder", chunk("1/0/1", folder), "samplesheet line 2 (brain): image: /data/i.zarr/s0/c/1/0/1: a chunk is expected here and this is no file; copy the store again"),
    ("a pipe", chunk("1/0/1", fifo), "samplesheet line 2 (brain): image: /data/i.zarr/s0/c/1/0/1: a chunk is expected here and this is no file; copy the store again"),
    ("a link to itself", chunk("1", loop), "samplesheet line 2 (brain): image: /data/i.zarr/s0/c/1: cannot be listed (Too many levels of symbolic links); check links and permissions"),
    ("a link back up", on_disk(lambda case: (case.image / "s0/c/up").symlink_to("..")), "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("a link to the sound file", chunk("1/0/1", lambda f: f.symlink_to(f.rename(f.with_name("elsewhere")))), "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("foreign files beside", on_disk(lambda case: (case.image / "s0/c/.nfs0001").write_text("")), "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("chunks beyond the shape", [image(np.ones((8, 20, 24), "f4")), array(shape=[6, 20, 24])], "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("shards", sharded(6), "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("a shard cut", [sharded(6), chunk("0/0/0", lambda f: f.write_bytes(b"1"))], "samplesheet line 2 (brain): image: /data/i.zarr/s0/c/0/0/0: this shard is truncated: 1 bytes; copy the store again"),
    ("a shard empty", [sharded(6), chunk("0/0/0", emptied)], "samplesheet line 2 (brain): image: /data/i.zarr/s0/c/0/0/0: this shard is truncated: 0 bytes; copy the store again"),
    ("a shard lost", [sharded(2), chunk("1/0/0", Path.unlink)], "6x20x24 float32, voxels of 10, 20, 20 um, 4 chunks missing"),
    ("all shards lost", [sharded(6), chunk("0/0/0", Path.unlink)], "samplesheet line 2 (brain): image: /data/i.zarr/s0: none of its 12 chunks is there: looked for c/0/0/0 and the like, found no file; copy the store again"),
    ("preview of a lost chunk", [chunk("1/0/0", Path.unlink), given(preview=True)], "6x20x24 float32, voxels of 10, 20, 20 um, 1 chunks missing\npreview: a preview of 6x20x24 voxels, 1/1 x 1/1 x 1/1 (z, y, x) of the image: to judge settings by, not a result; run without --preview for that"),
]  # fmt: skip

SURROUNDINGS: Rows = [
    ("image by a symbolic link", linked("i.zarr"), "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("image by a symbolic link to nothing", [on_disk(lambda case: (case.folder / "l.zarr").symlink_to("gone")), cells(image="l.zarr")], "samplesheet line 2 (brain): image: /data/l.zarr: no such file or folder; give a path relative to the samplesheet, or absolute"),
    ("image by a symbolic link to itself", [on_disk(lambda case: (case.folder / "l.zarr").symlink_to("l.zarr")), cells(image="l.zarr")], "samplesheet line 2 (brain): image: /data/l.zarr: no such file or folder; give a path relative to the samplesheet, or absolute"),
    ("image of a name with a space", moved("my brain.zarr"), "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("image of a name with a comma", moved("a,b.zarr"), "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("image of a name with brackets", moved("[a]*.zarr"), "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("image of a name with an accent", moved("brän.zarr"), "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("image of a name with a dollar", moved("$HOME.zarr"), "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("image of a name with a quote", moved("a\"b.zarr"), "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("image of a name in another script", moved("脑.zarr"), "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("image by dots", cells(image="./i.zarr/../i.zarr"), "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("image with a slash at the end", cells(image="i.zarr/"), "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("image of another case", cells(image="I.ZARR"), "samplesheet line 2 (brain): image: /data/I.ZARR: no such file or folder; give a path relative to the samplesheet, or absolute"),
    ("metadata a symbolic link to nothing", on_disk(lambda case: dangling(case.image / "zarr.json")), "samplesheet line 2 (brain): image: /data/i.zarr: no OME-Zarr image: it holds neither zarr.json nor .zattrs; check the path, or copy the store again"),
    ("array a symbolic link to nothing", on_disk(lambda case: dangling(case.image / "s0/zarr.json")), "samplesheet line 2 (brain): image: /data/i.zarr/s0: this level is listed in the metadata, but no Zarr v3 array is there; copy it again"),
    ("level elsewhere, by a symbolic link", on_disk(elsewhere), "6x20x24 float32, voxels of 10, 20, 20 um"),
    ("image that may only be read", on_disk(lambda case: [p.chmod(0o555) for p in sorted(case.image.rglob("*"))]), "6x20x24 float32, voxels of 10, 20, 20 um"),
]  # fmt: skip

TABLE: dict[str, Rows] = {
    "samplesheet": SAMPLESHEET,
    "parameters": PARAMETERS,
    "sections": SECTIONS,
    "masks": MASKS,
    "metadata": METADATA,
    "chunks": STORED,
    "surroundings": SURROUNDINGS,
}

TISSUE = small_acquisition().volume[:14]
QUICK = {"n_iterations": "6", "shrink_factor": "1,3,3", "mask_method": "otsu", "mask_min_size": 0}


def changed(index: object, value: object, dtype: str = "float32") -> list[Step]:
    """The simulated tissue, with other voxels in a part of it."""
    data = TISSUE.astype(dtype)
    data[index] = value
    return [whole(data, chunks=(7, 45, 52)), given(**QUICK)]


def of(data: object, n_sections: int = 2) -> list[Step]:
    """Any voxels."""
    return [whole(data), given(**QUICK), cells(n_sections=n_sections)]


BACKGROUND = np.s_[:, :3, :3]
VOXELS: Rows = [
    ("sound", changed(np.s_[:0], 0), "no warnings"),
    ("one NaN in tissue", changed((3, 22, 26), np.nan), "not_finite"),
    ("one NaN in the background", changed((3, 0, 0), np.nan), "not_finite"),
    ("one infinite in tissue", changed((3, 22, 26), np.inf), "not_finite"),
    ("a plane of NaN", changed(3, np.nan), "not_finite"),
    ("a section of NaN", changed(np.s_[:7], np.nan), "mask_agarose, mask_bright_cells, mask_share_jump, mask_share_jump, not_finite"),
    ("NaN all over", changed(np.s_[:], np.nan), "mask_empty, mask_empty, no_tissue"),
    ("negative background", changed(BACKGROUND, -5), "negative"),
    ("negative all over", changed(np.s_[:], -5), "mask_empty, mask_empty, no_tissue"),
    ("one of 1e30", changed((3, 22, 26), 1e30), "fell_back, fell_back, mask_bright_cells, mask_bright_cells"),
    ("one of the least", changed((3, 22, 26), 1e-45), "no warnings"),
    ("a section of zeros", changed(np.s_[:7], 0), "mask_agarose, mask_bright_cells, mask_share_jump, mask_share_jump"),
    ("zeros all over", changed(np.s_[:], 0), "mask_empty, mask_empty, no_tissue"),
    ("constant", changed(np.s_[:], 7), "mask_empty, mask_empty, no_tissue"),
    ("saturated all over", changed(np.s_[:], 65535, "u2"), "mask_empty, mask_empty, no_tissue"),
    ("int16 with negatives", changed(BACKGROUND, -3, "i2"), "negative"),
    ("float64", changed(np.s_[:0], 0, "f8"), "no warnings"),
    ("float16", changed(np.s_[:0], 0, "f2"), "no warnings"),
    ("one voxel", of(np.full((1, 1, 1), 5, "f4"), 1), "mask_empty, no_tissue, size"),
    ("one plane", of(TISSUE[3:4], 1), "no warnings"),
    ("one row", of(TISSUE[:, 22:23]), "no warnings"),
    ("one column", of(TISSUE[:, :, 26:27]), "no warnings"),
    ("sections of one plane", of(TISSUE[:5], 5), "no warnings"),
    ("mask of everything", [*changed(np.s_[:0], 0), mask(np.ones(TISSUE.shape, bool))], "no warnings"),
    ("mask of nothing", [*changed(np.s_[:0], 0), mask(np.zeros(TISSUE.shape, bool), config=KEPT)], "no_tissue"),
    ("mask that lost a chunk", [*changed(np.s_[:0], 0), mask(np.ones(TISSUE.shape, bool), chunks=(7, 45, 26)),
        on_disk(lambda case: (case.folder / "m.zarr/s0/c/1/0/1").unlink())], "missing_chunks"),
    ("mask of blocks, the rest not stored", [*changed(np.s_[:0], 0), mask(block_mask(), chunks=(7, 15, 13))], "no warnings"),
    ("image that lost a chunk", [image(TISSUE, chunks=(7, 15, 13)), given(**QUICK), chunk("1/1/1", Path.unlink)], "missing_chunks"),
    ("a chunk cut", [*changed(np.s_[:0], 0), chunk("1/0/0", truncate)], "error: /data/i.zarr/s0/c/1/0/0: this chunk is truncated or undecodable (OSError: incomplete frame); copy the store again"),
    ("a chunk empty", [*changed(np.s_[:0], 0), chunk("1/0/0", emptied)], "error: /data/i.zarr/s0/c/1/0/0: this chunk is truncated: 0 bytes of at least 1; copy the store again"),
    ("a chunk of zeros", [*changed(np.s_[:0], 0), chunk("1/0/0", lambda f: f.write_bytes(bytes(300)))], "error: /data/i.zarr/s0/c/1/0/0: this chunk is truncated or undecodable (OSError: Unknown frame descriptor); copy the store again"),
    ("a chunk of the mask cut", [*changed(np.s_[:0], 0), mask(np.ones(TISSUE.shape, bool)),
        on_disk(lambda case: truncate(case.folder / "m.zarr/s0/c/0/0/0"))], "error: /data/m.zarr/s0/c/0/0/0: this chunk is truncated or undecodable (OSError: incomplete frame); copy the store again"),
    ("a shard's index broken", [image(TISSUE, chunks=(7, 45, 52), shards=(14, 45, 52)), given(**QUICK),
        chunk("0/0/0", lambda f: f.write_bytes(f.read_bytes()[:-2] + b"xx"))], "error: /data/i.zarr/s0/c/0/0/0: this chunk is truncated or undecodable (RuntimeError: the checksum is invalid); copy the store again"),
    ("a claim of half the rows", [*changed(np.s_[:0], 0), array(shape=[14, 20, 52])], "no warnings"),
    ("a claim of another type", [image(TISSUE, compressors=None, chunks=(7, 45, 52)), given(**QUICK), array(data_type="float64")], "error: /data/i.zarr/s0/c/0/0/0: this chunk is truncated or undecodable (RuntimeError: the size of a decoded chunk is 65520, expected 131040); copy the store again"),
]  # fmt: skip
