"""A short soak: `make soak` is the long one."""

import pytest

from tests.soak import DISK_FULL, soak

pytestmark = pytest.mark.nextflow


def test_faults_at_random(tmp_path):
    tally = soak(tmp_path, injections=20, seed=3)
    print(tally.table())
    assert tally.n_injected == 20
    assert tally.sound, tally.table()
    assert len(tally.injected) >= 4, "the dice chose too few kinds to show anything"
    assert DISK_FULL in tally.injected or tally.unmounted
