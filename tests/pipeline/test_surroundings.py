"""What a login script, a scheduler or a colleague has set reaches no task; names hold what a file system allows."""

import csv
import os
import subprocess
from pathlib import Path

import pytest

from tests.acquisitions import small_acquisition, write_ome_zarr, write_samplesheet
from tests.chain import run_chain
from tests.pipeline.conftest import NEXTFLOW, REPOSITORY

pytestmark = pytest.mark.nextflow

SETTINGS = {"shrink_factor": 2, "n_iterations": "8,8"}
ONE_CORE = "process { withLabel: 'process_medium' { cpus = 1 } }\n"
NAMES = ("cerveau é #1.ome.zarr", "it's; 50 % & (more) [1]*.ome.zarr")


def stage(folder, samplesheet, outdir, environment, launcher=NEXTFLOW):
    """Run the checkout itself, not a copy: its linumpy is the one of .venv."""
    if not NEXTFLOW.exists():
        pytest.skip("no Nextflow in .venv; run make setup")
    (folder / "test.config").write_text(ONE_CORE)
    command = [launcher, "run", REPOSITORY, "-ansi-log", "false", "-c", "test.config", "--input", samplesheet]
    command += ["--outdir", outdir, *(text for name, value in SETTINGS.items() for text in (f"--{name}", value))]
    return subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=os.environ | environment,
        umask=0o027,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=600,
        check=False,
    )


@pytest.fixture
def hostile(tmp_path):
    """An environment in which every Python, Java and Numba that heeds it fails, and nothing can be written."""
    foreign = tmp_path / "foreign"
    for package in ("linumpy", "numpy"):
        (foreign / package).mkdir(parents=True)
        (foreign / package / "__init__.py").write_text("raise ImportError('of the lab, not of the stage')\n")
    (foreign / "sitecustomize.py").write_text("raise SystemExit('foreign code ran')\n")
    without_ps = tmp_path / "bin"
    without_ps.mkdir()
    for program in (*Path("/usr/bin").iterdir(), *Path("/bin").iterdir()):
        link = without_ps / program.name
        if program.name != "ps" and not link.is_symlink():
            link.symlink_to(program)
    return {
        "PATH": str(without_ps),
        "PYTHONPATH": str(foreign),
        "PYTHONHOME": str(foreign),
        "PYTHONUSERBASE": str(foreign),
        "PYTHONPLATLIBDIR": "nowhere",
        "PYTHONSTARTUP": str(foreign / "sitecustomize.py"),
        "PYTHONINSPECT": "1",
        "PYTHONOPTIMIZE": "2",
        "PYTHONWARNINGS": "error",
        "PYTHONHASHSEED": "no number",
        "PYTHONMALLOC": "no allocator",
        "PYTHONIOENCODING": "ascii",
        "NUMBA_CACHE_DIR": "/proc/nowhere",
        "NUMBA_DISABLE_JIT": "1",
        "JAVA_TOOL_OPTIONS": "-Xmx1k",
        "_JAVA_OPTIONS": "-XX:+NoSuchOption",
        "TMPDIR": "/proc/nowhere",
        "HOME": "/proc/nowhere",
        "LC_ALL": "C",
    }


def test_hostile_surroundings_change_no_bit(tmp_path, hostile):
    folder = tmp_path / "données"
    folder.mkdir()
    volume = small_acquisition().volume
    for name in NAMES:
        write_ome_zarr(folder / name, volume)
    rows = [{"acquisition": f"a{n}", "image": name, "n_sections": 3} for n, name in enumerate(NAMES)]
    samplesheet = write_samplesheet(folder / "échantillons.csv", rows)

    done = stage(tmp_path, samplesheet, "résultats $HOME `id`", hostile)
    assert done.returncode == 0, done.stdout
    assert "nextflow: /proc/nowhere/.nextflow cannot be written" in done.stdout

    results = tmp_path / "résultats $HOME `id`"
    plain = write_ome_zarr(tmp_path / "plain.ome.zarr", volume)
    alone = run_chain(tmp_path / "alone", {"image": plain, "n_sections": 3}, **SETTINGS)
    expected = digests(alone)
    assert len(expected) > 5
    for row in rows:
        assert digests(results / row["acquisition"]) == expected
    with (results / "pipeline_info" / "trace.tsv").open() as stream:
        # Nextflow looks once a second: of a short task it may see the shell only.
        seen = [float(task["peak_rss"]) for task in csv.DictReader(stream, delimiter="\t")]
    assert min(seen) > 0
    assert max(seen) > 1e7
    # As the umask says: the group may read, others nothing.
    modes = {path: path.stat().st_mode & 0o777 for path in sorted(results.rglob("*"))}
    assert {
        path: oct(mode) for path, mode in modes.items() if mode & 0o057 != (0o050 if path.is_dir() else 0o040)
    } == {}


def digests(folder):
    with (folder / "digests.tsv").open() as stream:
        # metrics.json holds the acquisition's name.
        return [line[1:] for line in csv.reader(stream, delimiter="\t") if line[1] != "metrics.json"]


def test_dollars_are_refused_by_name(tmp_path):
    write_ome_zarr(tmp_path / "brain $1.ome.zarr", small_acquisition().volume)
    (tmp_path / "link.ome.zarr").symlink_to("brain $1.ome.zarr")
    (tmp_path / "$HOME.csv").write_text("z_start,z_stop\n0,21\n")
    rows = [
        {"acquisition": "a", "image": "brain $1.ome.zarr", "n_sections": 3},
        {"acquisition": "b", "image": "link.ome.zarr", "sections": "$HOME.csv"},
    ]
    done = stage(tmp_path, write_samplesheet(tmp_path / "s.csv", rows), "results", {"NXF_SYNTAX_PARSER": "v2"})
    assert done.returncode == 1
    said = "Nextflow cannot read a path with a dollar sign: rename "
    image = tmp_path / "brain $1.ome.zarr"
    assert f"{said}{image}, {image}, {tmp_path}/$HOME.csv; a symbolic link" in done.stdout


@pytest.mark.parametrize("where", ["image", "samplesheet"])
def test_another_launcher_names_the_locale_as_the_cause(tmp_path, where):
    """The vendor's launcher, which leaves the locale as it is."""
    lines = [line for line in NEXTFLOW.read_text().splitlines() if "LC_ALL" not in line]
    launcher = tmp_path / "nextflow"
    launcher.write_text("\n".join(lines).replace("${BASH_SOURCE[0]}", str(NEXTFLOW)))
    launcher.chmod(0o755)
    rows = [{"acquisition": "a", "image": "é.ome.zarr", "n_sections": 3}]
    sheet = write_samplesheet(tmp_path / ("é.csv" if where == "samplesheet" else "s.csv"), rows)
    done = stage(tmp_path, sheet, "results", {"LC_ALL": "C"}, launcher=launcher)
    assert done.returncode == 1
    assert "This shell's locale lacks letters of" in done.stdout
    assert "`export LC_ALL=C.UTF-8` and run again" in done.stdout
