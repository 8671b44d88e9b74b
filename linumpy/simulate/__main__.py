"""Write simulated acquisitions as OME-Zarr 0.5, with their true bias fields and a samplesheet.

Example: ``python -m linumpy.simulate --output demo --variant serial_oct oblique``
or ``python -m linumpy.simulate --output demo --case usual_decay --anatomy even_brain.ome.zarr``
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from linumpy.intensity.sections import section_bounds
from linumpy.io.pyramid import PyramidLayout
from linumpy.io.writer import write_image
from linumpy.plan.samplesheet import COLUMNS
from linumpy.simulate.acquisition import Acquisition
from linumpy.simulate.cases import CASES, DAMAGED, case
from linumpy.simulate.even import open_even_volume
from linumpy.simulate.physics import VARIANTS
from linumpy.simulate.prism import DEFAULT_SHAPE, DEFAULT_VOXEL_SIZE_UM, simulate_acquisition


def write_acquisition(acquisition: Acquisition, folder: Path, name: str) -> dict[str, str]:
    """Write image and true field as OME-Zarr 0.5 and return the samplesheet's row.

    Sections of unequal depth go into ``<name>_sections.csv``. Existing stores of the name are replaced.
    """
    _write_ome_zarr(folder / f"{name}.ome.zarr", acquisition.volume, acquisition.voxel_size_mm, name)
    _write_ome_zarr(folder / f"{name}_bias.ome.zarr", acquisition.bias_field, acquisition.voxel_size_mm, f"{name}_bias")
    row = dict.fromkeys(COLUMNS, "")
    row.update(acquisition=name, image=f"{name}.ome.zarr")
    n_sections = len(acquisition.sections)
    if acquisition.sections == section_bounds(acquisition.volume.shape[0], n_sections):
        row["n_sections"] = str(n_sections)
    else:
        row["sections"] = f"{name}_sections.csv"
        with (folder / row["sections"]).open("w", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerows([("z_start", "z_stop"), *acquisition.sections])
    return row


def _write_ome_zarr(path: Path, image: NDArray[Any], voxel_mm: tuple[float, float, float], name: str) -> None:
    shutil.rmtree(path, ignore_errors=True)
    voxel_um = [round(1000 * size, 6) for size in voxel_mm]
    write_image(path, image, PyramidLayout.plan(image.shape, image.dtype, voxel_um), name=name)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line of ``python -m linumpy.simulate``."""
    parser = argparse.ArgumentParser(
        prog="python -m linumpy.simulate",
        description="Simulate serial acquisitions with known bias fields and write them with a samplesheet.",
        allow_abbrev=False,
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write into (made if missing)")
    parser.add_argument(
        "--variant", nargs="+", choices=sorted(VARIANTS), metavar="NAME",
        help=f"of the prism, one acquisition each; default serial_oct; there are {', '.join(VARIANTS)}",
    )  # fmt: skip
    parser.add_argument(
        "--case", nargs="+", default=[], choices=[*CASES, *DAMAGED], metavar="NAME",
        help=f"of real anatomy, one acquisition each, in its own size; there are {', '.join([*CASES, *DAMAGED])}",
    )  # fmt: skip
    parser.add_argument(
        "--anatomy", default="organ", metavar="PATH",
        help="what the cases image: an OME-Zarr without bias, 0 outside the tissue; default organ, a built-in phantom",
    )  # fmt: skip
    parser.add_argument(
        "--size", type=int, nargs=3, default=DEFAULT_SHAPE, metavar=("Z", "Y", "X"),
        help="planes, rows, columns; default 160 300 340",
    )  # fmt: skip
    parser.add_argument("--sections", type=int, default=8, help="number of serial sections; default 8")
    parser.add_argument(
        "--voxel_size_um", type=float, nargs=3, default=DEFAULT_VOXEL_SIZE_UM, metavar=("Z", "Y", "X"),
        help="voxel size in micrometres; default 10 20 20",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="seed of all random draws; default 0")
    return parser.parse_args(argv)


def _refuse_to_replace_what_is_not_simulated(samplesheet: Path, variants: Sequence[str]) -> None:
    """Raise a ValueError unless what is there is an earlier simulation, told by its samplesheet."""
    if samplesheet.is_file():
        with samplesheet.open(newline="", encoding="utf-8") as stream:
            names = [(row.get("acquisition"), row.get("image")) for row in csv.DictReader(stream)]
        if all(name in VARIANTS and image == f"{name}.ome.zarr" for name, image in names):
            return
    stores = [samplesheet.parent / f"{name}{kind}.ome.zarr" for name in variants for kind in ("", "_bias")]
    for path in (samplesheet, *stores):
        if path.exists():
            raise ValueError(f"{path} is there and no earlier simulation wrote it; give another --output")


def main(argv: Sequence[str] | None = None) -> int:
    """Write the acquisitions asked for and print the path of their samplesheet."""
    args = parse_args(argv)
    samplesheet = args.output / "samplesheet.csv"
    rows = []
    try:
        variants = args.variant or ([] if args.case else ["serial_oct"])
        _refuse_to_replace_what_is_not_simulated(samplesheet, [*args.case, *variants])
        args.output.mkdir(parents=True, exist_ok=True)
        for name in args.case:
            anatomy = args.anatomy if args.anatomy == "organ" else open_even_volume(args.anatomy)
            rows.append(write_acquisition(case(name, anatomy, seed=args.seed), args.output, name))
        for variant in variants:
            acquisition = simulate_acquisition(
                tuple(args.size),
                sections=args.sections,
                voxel_size_um=tuple(args.voxel_size_um),
                variant=variant,
                seed=args.seed,
            )
            rows.append(write_acquisition(acquisition, args.output, variant))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with samplesheet.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(samplesheet)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
