"""Every input of the table has its outcome, to the letter."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter

import pytest

from tests.chain import REPOSITORY
from tests.corpus.building import made, outcome_of_chain, outcome_of_check
from tests.corpus.mutation import within
from tests.corpus.table import TABLE, VOXELS
from tests.corpus.tally import COUNTS

CHECKED = [(area, *row) for area, rows in TABLE.items() for row in rows]
SECONDS = 60
"""A row takes a tenth of a second, the chain a few; what takes this long hangs."""


def told(outcome: str) -> str:
    if outcome.startswith(("samplesheet", "parameter", "unknown", "sheet.csv", "error: ")):
        return "refused"
    plain = outcome == "no warnings" or re.fullmatch(r"\S+ \S+, voxels of \S+ \S+ \S+ um", outcome)
    return "accepted" if plain else "warned of"


@pytest.mark.parametrize(
    ("area", "name", "steps", "expected"), [pytest.param(*c, id=f"{c[0]}-{c[1]}") for c in CHECKED]
)
def test_what_the_check_says(tmp_path, area, name, steps, expected):
    with within(SECONDS):
        outcome = outcome_of_check(made(tmp_path, steps))
    COUNTS[area, told(outcome)] += 1
    assert outcome == expected


@pytest.mark.parametrize(("name", "steps", "expected"), [pytest.param(*row, id=row[0]) for row in VOXELS])
def test_what_the_chain_says(tmp_path, capsys, name, steps, expected):
    with within(SECONDS):
        outcome = outcome_of_chain(made(tmp_path, steps), capsys)
    COUNTS["voxels", told(outcome)] += 1
    assert outcome == expected


CLAIM = r"""
import re, sys
from pathlib import Path
from tests.chain import REPOSITORY
from tests.corpus.building import array, made, outcome_of_check
shape, chunks = eval(sys.argv[2])
def change(document):
    document["shape"] = shape
    document["chunk_grid"]["configuration"]["chunk_shape"] = chunks
outcome_of_check(made(Path(sys.argv[1]), array(change)))
# Not ru_maxrss: that of the process which started this one counts there.
print(re.search(r"VmHWM:\s+([0-9]+) kB", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.parametrize(
    "claim",
    [
        ([10**12, 20, 24], [2, 20, 12]),  # refused
        ([2, 65536, 65536], [1, 4, 8]),  # the most chunks
        ([10**6, 160, 240], [1, 10, 16]),  # the most planes
    ],
)
def test_what_metadata_claims_takes_no_memory(tmp_path, claim):
    command = [sys.executable, "-c", CLAIM, str(tmp_path), repr(claim)]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 2**20  # KiB


def test_the_table_names_its_inputs_once():
    names = Counter([(area, name) for area, name, *_ in CHECKED] + [("voxels", name) for name, *_ in VOXELS])
    assert [name for name, n in names.items() if n > 1] == []
    assert len(names) >= 150
