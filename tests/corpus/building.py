"""What the table's inputs are made of: a sound acquisition, and steps that change one thing in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linumpy.intensity.bias_model import read_json
from linumpy.io.ome_zarr import open_image
from linumpy.plan.check import check_input
from linumpy.plan.errors import InputError
from tests.acquisitions import write_ome_zarr, write_samplesheet
from tests.chain import REPOSITORY, run_chain

SHAPE = (6, 20, 24)
CHUNKS = (2, 20, 12)

Step = Callable[["Case"], None]


@dataclass
class Case:
    """An input while it is made: image ``i.zarr``, one samplesheet row, parameters."""

    folder: Path
    row: dict[str, Any] = field(
        default_factory=lambda: {"acquisition": "brain", "image": "i.zarr", "n_sections": 2},
    )
    parameters: dict[str, Any] = field(default_factory=dict)
    sheet: bytes | None = None

    @property
    def image(self) -> Path:
        return self.folder / "i.zarr"

    @property
    def array_file(self) -> Path:
        """Metadata of the finest level."""
        return next(file for file in (self.image / "s0" / "zarr.json", self.image / "s0" / ".zarray") if file.exists())

    def chunk(self, name: str) -> Path:
        return self.image / "s0" / ("c/" + name if self.array_file.name == "zarr.json" else name)


def volume() -> NDArray[np.float32]:
    return 1 + np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)


def made(folder: Path, steps: Step | Iterable[Step]) -> Case:
    case = Case(folder)
    image()(case)
    for step in [steps] if callable(steps) else steps:
        step(case)
    return case


def image(data: NDArray[Any] | None = None, **options: Any) -> Step:
    """Another image in place of the sound one."""

    def step(case: Case) -> None:
        shutil.rmtree(case.image, ignore_errors=True)
        write_ome_zarr(case.image, volume() if data is None else data, **{"chunks": CHUNKS} | options)

    return step


def mask(data: NDArray[Any], **options: Any) -> Step:
    """A mask beside the image, and in the row."""

    def step(case: Case) -> None:
        write_ome_zarr(case.folder / "m.zarr", data, **{"chunks": CHUNKS} | options)
        case.row["mask"] = "m.zarr"

    return step


def cells(**values: Any) -> Step:
    """Cells of the row; None takes the column away."""

    def step(case: Case) -> None:
        case.row |= values
        case.row = {name: value for name, value in case.row.items() if value is not None}

    return step


def sheet(text: str | bytes) -> Step:
    """The samplesheet's whole text."""

    def step(case: Case) -> None:
        case.sheet = text.encode() if isinstance(text, str) else text

    return step


def sections(text: str | bytes) -> Step:
    """A file of sections, and in the row."""

    def step(case: Case) -> None:
        (case.folder / "s.csv").write_bytes(text.encode() if isinstance(text, str) else text)
        del case.row["n_sections"]
        case.row["sections"] = "s.csv"

    return step


def given(**parameters: Any) -> Step:
    """Parameters."""

    def step(case: Case) -> None:
        case.parameters |= parameters

    return step


def edited(file: Callable[[Case], Path], change: Callable[[Any], Any]) -> Step:
    """A JSON file, changed in place."""

    def step(case: Case) -> None:
        document = json.loads(file(case).read_text())
        change(document)
        file(case).write_text(json.dumps(document))

    return step


def array(change: Callable[[Any], Any] | None = None, **values: Any) -> Step:
    """Metadata of the finest level's array."""
    return edited(lambda case: case.array_file, change or (lambda document: document.update(values)))


def group(change: Callable[[Any], Any]) -> Step:
    """Attributes of the image's group: what holds ``multiscales``."""

    def step(case: Case) -> None:
        if (case.image / ".zattrs").exists():
            edited(lambda case: case.image / ".zattrs", change)(case)
        else:
            edited(lambda case: case.image / "zarr.json", lambda d: change(d["attributes"]["ome"]))(case)

    return step


def multiscale(change: Callable[[Any], Any] | None = None, **values: Any) -> Step:
    """The image's one entry of ``multiscales``."""
    return group(lambda ome: (change or (lambda entry: entry.update(values)))(ome["multiscales"][0]))


def axis(index: int, **values: Any) -> Step:
    """One axis; None takes a key away."""

    def change(entry: Any) -> None:
        merged = entry["axes"][index] | values
        entry["axes"][index] = {name: value for name, value in merged.items() if value is not None}

    return multiscale(change)


def transformations(*values: Mapping[str, Any]) -> Step:
    """Those of the finest level."""
    return multiscale(lambda entry: entry["datasets"][0].update(coordinateTransformations=list(values)))


def on_disk(change: Callable[[Case], Any]) -> Step:
    """Anything with the files."""
    return lambda case: (change(case), None)[1]


def chunk(name: str, change: Callable[[Path], Any]) -> Step:
    """Anything with the file of a chunk of the finest level."""
    return on_disk(lambda case: change(case.chunk(name)))


def outcome_of_check(case: Case) -> str:
    """Return the faults, a line each, or what was accepted as what and with which warnings."""
    rows = [case.row]
    named = {str(row[column]) for row in rows for column in ("image", "mask", "sections") if row.get(column)}
    if case.sheet is None:
        write_samplesheet(case.folder / "sheet.csv", rows)
    else:
        (case.folder / "sheet.csv").write_bytes(case.sheet)
    request = {
        "workflow": {"nextflow": "none"},
        "parameters": {"input": "sheet.csv", "outdir": "results"} | case.parameters,
        "paths": {cell: f"/data/{cell}" for cell in named},
        "staged": {cell: str(case.folder / cell) for cell in named if (case.folder / cell).exists()},
    }
    (case.folder / "request.json").write_text(json.dumps(request))
    try:
        check_input(
            samplesheet=case.folder / "sheet.csv",
            request=case.folder / "request.json",
            schema=REPOSITORY / "nextflow_schema.json",
            output_plan=case.folder / "plan.json",
            output_info=case.folder / "info",
        )
    except InputError as error:
        assert not (case.folder / "plan.json").exists()
        return "\n".join(error.faults)
    (inputs,) = read_json(case.folder / "info" / "inputs.json")
    (plan,) = read_json(case.folder / "plan.json")
    size = ", ".join(f"{1000 * length:g}" for length in inputs["voxel_size_mm"])
    told = f"{'x'.join(map(str, inputs['shape']))} {inputs['dtype']}, voxels of {size} um"
    missing = plan["report"]["missing_chunks"]
    told += f", {missing} chunks missing" if missing else ""
    return "\n".join([told, *(f"{w['code']}: {w['message']}" for w in plan["report"]["warnings"])])


def outcome_of_chain(case: Case, capsys: Any) -> str:
    """Run the whole chain; return the codes of its warnings and what was counted, or the error that it ended with."""
    row = {
        name: case.folder / value if name in ("image", "mask", "sections") else value
        for name, value in case.row.items()
        if name != "acquisition"
    }
    try:
        results = run_chain(case.folder / "run", row, **case.parameters)
    except (AssertionError, InputError):
        (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        return error.replace(f"{case.folder}", "/data")
    metrics = read_json(results / "metrics.json")
    image = open_image(case.image)
    corrected = open_image(results / "corrected.ome.zarr").read()
    finite = np.isfinite(image.read())
    assert corrected.shape == image.shape
    np.testing.assert_array_equal(np.isfinite(corrected), finite)
    return ", ".join(sorted(warning["code"] for warning in metrics["warnings"])) or "no warnings"
