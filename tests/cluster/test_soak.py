"""A short soak: `make soak` is the long one."""

import time

import pytest

from tests.soak import DISK_FULL, Tally, soak

pytestmark = pytest.mark.nextflow

SECONDS = 240.0
"""A machine that is too slow for all faults gets fewer."""


def test_faults_at_random(tmp_path):
    tally = Tally(wanted=20, until=time.monotonic() + SECONDS)
    soak(tmp_path, tally, seed=3)
    print(tally.table())
    assert tally.sound, tally.table()
    if tally.n_injected < tally.wanted:
        pytest.skip(f"time was over after {tally.n_injected} of {tally.wanted} faults, all of them mended")
    assert len(tally.injected) >= 4, "the dice chose too few kinds to show anything"
    assert DISK_FULL in tally.injected or tally.unmounted
