"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

collect_ignore = ["validate_crate.py"]  # a script for an environment of its own


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of the real volumes (read-only); the test is skipped where it is absent."""
    folder = Path(os.environ.get("LINUMPY_TEST_DATA", REPOSITORY / ".." / "shared" / "data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"the real volumes are not in {folder}; set LINUMPY_TEST_DATA to their folder")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip GPU tests, with a reason, where there is no GPU."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    try:
        import cupy

        n_devices = cupy.cuda.runtime.getDeviceCount()
        reason = "no CUDA device"
    except Exception as error:  # CuPy raises its own errors where the driver is missing or too old
        n_devices, reason = 0, f"no CuPy with CUDA here: {error}"
    if n_devices == 0:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))
