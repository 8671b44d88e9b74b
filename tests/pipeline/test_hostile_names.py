"""Names that are code, through Nextflow: of folders, in the metadata, in the samplesheet."""

import json

import numpy as np
import pytest

from linumpy.printable import printable_lines
from tests.acquisitions import write_ome_zarr, write_samplesheet

pytestmark = [pytest.mark.nextflow, pytest.mark.slow]

NAME = "'\"`touch pwned`$(touch pwned)${IFS};touch pwned\n\x1b[2J\u202e<script>alert(1)</script>"


def write(path):
    """Write an image whose name and channel are code."""
    volume = np.random.default_rng(0).uniform(50, 100, (1, 8, 24, 26)).astype(np.float32)
    write_ome_zarr(path, volume, axes="czyx", channels=[{"label": NAME, "color": NAME}])
    metadata = json.loads((path / "zarr.json").read_text())
    metadata["attributes"]["ome"]["multiscales"][0]["name"] = NAME
    (path / "zarr.json").write_text(json.dumps(metadata))


def test_code_is_never_run(launch, tmp_path):
    images = {"quoted": "a `touch pwned` '; touch pwned; '.zarr", "joined": "-b && touch pwned_; .zarr"}
    rows = [{"acquisition": name, "image": image, "n_sections": 2} for name, image in images.items()]
    for image in images.values():
        write(tmp_path / image)
    sheet = write_samplesheet(tmp_path / "s.csv", rows)
    run = launch(tmp_path / "run", "--input", sheet, "--n_iterations", "4", "--shrink_factor", "2")
    assert not list(tmp_path.rglob("pwned*"))
    for name in images:
        html = (run.outdir / name / "report.html").read_text(encoding="utf-8")
        assert "&lt;script&gt;alert(1)" in html
        assert "<script>alert" not in html
        assert json.loads((run.outdir / name / "metrics.json").read_text())["image"]["name"] == NAME
    for log in run.work_files(".command.err"):
        assert printable_lines(log.read_text()) == log.read_text(), log


def test_names_of_acquisitions_that_are_code_are_refused(launch, tmp_path):
    write(tmp_path / "image.zarr")
    names = ["$(touch pwned)", "`touch pwned`", "a; touch pwned", "../a", "javascript:alert(1)", "a\u202eb", "a\x1b[2J"]
    rows = [{"acquisition": name, "image": "image.zarr", "n_sections": 2} for name in names]
    run = launch(tmp_path / "run", "--input", write_samplesheet(tmp_path / "s.csv", rows), status=1)
    assert not list(tmp_path.rglob("pwned*"))
    assert f"{len(names)} faults in the input" in run.output
    assert run.output.count("cannot name a folder") == len(names)
    assert printable_lines(run.output) == run.output
    assert not (run.outdir / "index.html").exists()
