"""Input made to do harm: metadata that claims the absurd, names that are code, paths that lead elsewhere.

The memory of a check is bounded from outside: it runs in a process of its own, whose address space is limited.
"""

import json
import os
import pickle
import re
import subprocess
import sys
import zlib
from pathlib import Path

import numcodecs
import numpy as np
import pytest

from linumpy.io.errors import OmeZarrError
from linumpy.io.ome_zarr import open_image
from linumpy.plan.errors import InputError
from tests.acquisitions import write_ome_zarr
from tests.chain import REPOSITORY, run_chain

VOLUME = np.ones((4, 20, 24), np.float32)
MEMORY = 1 << 30

# Checks images with so much memory beside what the interpreter and its libraries map, and says what it took.
CHECK = """
import json, re, resource, sys, linumpy.io.ome_zarr, ome_zarr_models.v04.multiscales, ome_zarr_models.v05.multiscales
from pathlib import Path
from tests.chain import plan
mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (mapped + {memory}, mapped + {memory}))
said = {{}}
for image in sys.argv[2:]:
    try:
        plan(Path(sys.argv[1], Path(image).name), {{"image": image, "n_sections": {n_sections!r}}})
        said[Path(image).name] = "accepted"
    except ValueError as error:
        said[Path(image).name] = str(error)
# Not `ru_maxrss`: that counts the process which started this one, too.
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
print(json.dumps([said, int(peak) * 1024]))
"""


def check_with_little_memory(
    folder: Path, *images: Path, n_sections: int | str = 2, memory: int = MEMORY
) -> dict[str, str]:
    """Return what CHECK_INPUT says of images, in a process that cannot have so much more than it starts with."""
    done = subprocess.run(
        [sys.executable, "-c", CHECK.format(memory=memory, n_sections=n_sections), folder / "plan", *images],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    said, peak = json.loads(done.stdout)
    assert peak < MEMORY
    return said


def edit(file: Path, change) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def claim(**what):
    """Return a change of an array's metadata in version 0.4."""
    return lambda store: edit(store / "s0" / ".zarray", lambda content: content.update(what))


def of_group(change):
    """Return a change of what `ome` holds in version 0.5."""
    return lambda store: edit(store / "zarr.json", lambda content: change(content["attributes"]["ome"]))


def of_image(change):
    """Return a change of the one `multiscales` entry in version 0.5."""
    return of_group(lambda ome: change(ome["multiscales"][0]))


def text(name: str, content: str):
    """Return what writes a metadata file."""
    return lambda store: (store / name).write_text(content)


def sparse(name: str, size: int):
    """Return what makes a metadata file very large; on disk it takes no room."""

    def write(store: Path) -> None:
        with (store / name).open("ab") as stream:
            stream.truncate(size)

    return write


def in_one_shard(store: Path) -> None:
    def change(content):
        content["shape"] = [4, 20, 24]
        content["chunk_grid"]["configuration"]["chunk_shape"] = [1000, 1000, 1000]
        content["codecs"] = [
            {
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": [1, 1, 1],
                    "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
                    "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
                    "index_location": "end",
                },
            }
        ]

    edit(store / "s0" / "zarr.json", change)


CLAIMS = {
    "10^12 voxels along an axis": ("0.4", claim(shape=[10**12, 20, 24]), "tells of 1000000000000 planes"),
    "10^18 voxels": ("0.4", claim(shape=[10**6] * 3, chunks=[100, 1000, 1000]), "tells of 1000000 planes"),
    "more than 64 bits": ("0.4", claim(shape=[10**30, 20, 24]), "s0: .*(tells of|cannot be opened)"),
    "10^12 chunks": ("0.4", claim(shape=[10**4] * 3, chunks=[1] * 3), "tells of 1000000000000 chunks"),
    "a chunk of 64 GiB": ("0.4", claim(shape=[4096, 2048, 2048], chunks=[4096, 2048, 2048]), "bytes.*smaller chunks"),
    "10^9 chunks in a shard": ("0.5", in_one_shard, "this shard is truncated"),
    "many chunks that are not there": ("0.4", claim(shape=[2000, 20, 240], chunks=[1, 20, 24]), "accepted|not there"),
    "deep JSON": ("0.5", text("zarr.json", "[" * 10**6), "zarr.json: is not valid JSON"),
    "deep JSON of an array": ("0.5", text("s0/zarr.json", '{"a":' * 10**6), "s0: the array cannot be opened"),
    "1 GB of group metadata": ("0.5", sparse("zarr.json", 10**9), "zarr.json: is no file of metadata"),
    "1 GB of array metadata": ("0.5", sparse("s0/zarr.json", 10**9), "s0/zarr.json: is no file of metadata"),
    "1 GB of array attributes": ("0.4", sparse("s0/.zattrs", 10**9), "s0/.zattrs: is no file of metadata"),
    "60,000 levels": (
        "0.5",
        of_image(lambda m: m.update(datasets=m["datasets"] * 60_000)),
        "60,000 levels",
    ),
    "10^6 axes": ("0.5", of_image(lambda m: m.update(axes=[{}] * 10**6)), "1,000,000 axes in the metadata"),
    "10^6 transformations": (
        "0.5",
        of_image(lambda m: m["datasets"][0].update(coordinateTransformations=[{}] * 10**6)),
        "1,000,000 transformations",
    ),
    "10^6 numbers": (
        "0.5",
        of_image(lambda m: m["datasets"][0]["coordinateTransformations"][0].update(scale=[1] * 10**6)),
        "1,000,000 numbers of a scale",
    ),
    "10^6 other images": ("0.5", of_group(lambda ome: ome["multiscales"].extend([{}] * 10**6)), "accepted"),
    "10^6 channels": ("0.5", of_group(lambda ome: ome.update(omero={"channels": [{}] * 10**6})), "accepted"),
    "a unit of a million letters": ("0.5", of_image(lambda m: m["axes"][0].update(unit="x" * 10**6)), "^.{,3000}$"),
}


@pytest.fixture(scope="module")
def said_of_claims(tmp_path_factory):
    """What CHECK_INPUT says of each image whose metadata claims the absurd."""
    folder = tmp_path_factory.mktemp("claims")
    for name, (version, damage, _) in CLAIMS.items():
        damage(write_ome_zarr(folder / name, VOLUME, version=version))
    return check_with_little_memory(folder, *(folder / name for name in CLAIMS))


@pytest.mark.parametrize("what", CLAIMS)
def test_no_claim_takes_more_than_1_gib(said_of_claims, what):
    found = said_of_claims[what].removeprefix("1 fault in the input:\n")
    assert re.search(CLAIMS[what][2], found), found[:2000]


@pytest.mark.parametrize(("version", "codec"), [("0.4", "gzip"), ("0.5", "gzip"), ("0.5", "zstd")])
def test_a_chunk_that_decodes_to_far_more_than_it_claims(tmp_path, version, codec):
    """Where the sections are to be found, CHECK_INPUT reads voxels: 1.5 GiB of zeros take some megabytes on disk."""
    bomb = gzip_of_zeros(3 << 29) if codec == "gzip" else numcodecs.Zstd(3).encode(np.zeros((2 << 30) - 10**6, "u1"))
    array = write_ome_zarr(tmp_path / "bomb", VOLUME, version=version) / "s0"
    configuration = {"level": 1} | ({"checksum": False} if codec == "zstd" else {})
    if version == "0.4":
        edit(array / ".zarray", lambda content: content.update(compressor={"id": codec} | configuration))
    else:
        codecs = [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": codec, "configuration": configuration},
        ]
        edit(array / "zarr.json", lambda content: content.update(codecs=codecs))
    for file in sorted(array.rglob("*")):
        if file.is_file() and file.name not in (".zarray", ".zattrs", "zarr.json"):
            file.write_bytes(bomb)
    said = check_with_little_memory(tmp_path, tmp_path / "bomb", n_sections="", memory=8 << 30)
    assert "to look for cuts takes more than 768 MiB" in said["bomb"]


def gzip_of_zeros(size: int) -> bytes:
    packer, zeros = zlib.compressobj(1, zlib.DEFLATED, 31), bytes(1 << 24)
    return b"".join([*(packer.compress(zeros) for _ in range(size >> 24)), packer.flush()])


def test_a_samplesheet_of_millions_of_rows(tmp_path):
    from linumpy.plan.samplesheet import read_samplesheet

    sheet = tmp_path / "s.csv"
    sheet.write_text("acquisition,image,n_sections\n" + "a,b,1\n" * 2_000_000)
    with pytest.raises(InputError, match=r"s.csv has 12,000,029 bytes; at most 8,388,608 are read"):
        read_samplesheet(sheet)


@pytest.mark.parametrize("path", ["/etc", "../other.zarr/s0", "s0/../../other.zarr/s0"])
def test_a_level_outside_of_the_image_is_refused(tmp_path, path):
    write_ome_zarr(tmp_path / "other.zarr", VOLUME)
    image = write_ome_zarr(tmp_path / "image.zarr", VOLUME)
    of_image(lambda m: m["datasets"][0].update(path=path))(image)
    with pytest.raises(OmeZarrError, match=r"the path '.*' in the metadata leads out of the image"):
        open_image(image)


def test_a_series_outside_of_the_image_is_refused(tmp_path):
    write_ome_zarr(tmp_path / "other.zarr", VOLUME, version="0.4")
    image = tmp_path / "image.zarr"
    (image / "OME").mkdir(parents=True)
    (image / ".zattrs").write_text('{"bioformats2raw.layout": 3}')
    (image / "OME" / ".zattrs").write_text('{"series": ["../other.zarr"]}')
    with pytest.raises(OmeZarrError, match=r"the path '../other.zarr' in the metadata leads out of the image"):
        open_image(image)


class _Code:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


@pytest.mark.parametrize("place", ["compressor", "filters"])
@pytest.mark.parametrize("dtype", ["<f4", "|O"])
def test_a_codec_that_runs_code_is_refused(tmp_path, monkeypatch, place, dtype):
    monkeypatch.chdir(tmp_path)
    image = write_ome_zarr(tmp_path / "image.zarr", VOLUME, version="0.4")
    codec = {"id": "pickle", "protocol": 5}
    claim(dtype=dtype, fill_value=0, compressor=None, filters=None)(image)
    claim(**{place: [codec] if place == "filters" else codec})(image)
    (image / "s0" / "0" / "0" / "0").write_bytes(pickle.dumps(_Code()))
    with pytest.raises(OmeZarrError, match=r"s0: (the array cannot be opened|voxels of type object are refused)"):
        open_image(image).read()
    assert not (tmp_path / "pwned").exists()


HOSTILE = "'\"`$(touch pwned)`<script>alert(1)</script>\n\x1b[2J\u202e]]>&amp;\\"


def test_names_of_an_image_are_words_wherever_they_end_up(tmp_path):
    channels = [{"label": HOSTILE, "color": HOSTILE, "window": HOSTILE, HOSTILE: HOSTILE}]
    volume = np.random.default_rng(0).uniform(50, 100, (1, 8, 24, 26)).astype(np.float32)
    image = write_ome_zarr(tmp_path / "image.zarr", volume, axes="czyx", channels=channels)
    of_image(lambda m: m.update(name=HOSTILE))(image)
    settings = {"n_iterations": "4", "shrink_factor": 2}
    results = run_chain(tmp_path / "run", {"image": image, "n_sections": 2, "channel": HOSTILE.strip()}, **settings)
    assert not list(tmp_path.rglob("pwned"))
    html = (results / "report.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert" in html
    for file in (path for path in results.rglob("*") if path.suffix in {".html", ".json", ".tsv"}):
        text = file.read_text(encoding="utf-8")
        for forbidden in ("<script>alert" if file.suffix == ".html" else "\x00", "\x1b", "\u202e"):
            assert forbidden not in text, file.name
    assert json.loads((results / "metrics.json").read_text())["image"]["name"] == HOSTILE
