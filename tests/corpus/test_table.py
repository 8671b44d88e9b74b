"""Every input of the table has its outcome, to the letter."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.corpus.building import made, outcome_of_chain, outcome_of_check
from tests.corpus.mutation import within
from tests.corpus.table import TABLE, VOXELS

CHECKED = [(area, *row) for area, rows in TABLE.items() for row in rows]
SECONDS = 60
"""A row takes a tenth of a second, the chain a few; what takes this long hangs."""

counts: Counter[tuple[str, str]] = Counter()


@pytest.fixture(scope="module", autouse=True)
def closing_table(request):
    """Print how many inputs of each area had which kind of outcome."""
    yield
    lines = [f"{area:14} {how:12} {n:4}" for (area, how), n in sorted(counts.items())]
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\ncorpus of bad input, by area and outcome", *lines, f"{counts.total():32}", sep="\n")


def told(outcome: str) -> str:
    if outcome.startswith(("samplesheet", "parameter", "unknown", "sheet.csv", "error: ")):
        return "refused"
    return "warned of" if "\n" in outcome or "missing" in outcome else "accepted"


@pytest.mark.parametrize(
    ("area", "name", "steps", "expected"), [pytest.param(*c, id=f"{c[0]}-{c[1]}") for c in CHECKED]
)
def test_what_the_check_says(tmp_path, area, name, steps, expected):
    with within(SECONDS):
        outcome = outcome_of_check(made(tmp_path, steps))
    counts[area, told(outcome)] += 1
    assert outcome == expected


@pytest.mark.parametrize(("name", "steps", "expected"), [pytest.param(*row, id=row[0]) for row in VOXELS])
def test_what_the_chain_says(tmp_path, capsys, name, steps, expected):
    with within(SECONDS):
        outcome = outcome_of_chain(made(tmp_path, steps), capsys)
    counts["voxels", told(outcome) if outcome == "no warnings" or "error" in outcome else "warned of"] += 1
    assert outcome == expected


def test_the_table_names_its_inputs_once():
    names = Counter([(area, name) for area, name, *_ in CHECKED] + [("voxels", name) for name, *_ in VOXELS])
    assert [name for name, n in names.items() if n > 1] == []
    assert len(names) >= 150
