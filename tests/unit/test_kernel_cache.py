"""Kernels that an image ships compiled are taken from a folder that cannot be written."""

import json
import os
import subprocess
import sys
from pathlib import Path

KERNEL = """
import json, os, numba

@numba.njit(cache=True)
def twice(x):
    return x + x

if __name__ == "__main__":
    import kernel
    value = kernel.twice(json.loads(os.environ.get("ARGUMENT", "2")))
    print(json.dumps({"hits": sum(kernel.twice.stats.cache_hits.values()), "value": value,
                      "path": kernel.twice.stats.cache_path}))
"""
LOCATOR = "linumpy.kernel_cache.ScratchCacheLocator"


def run_kernel(folder: Path, **environment: str) -> dict:
    """Call the kernel in a process of its own and return what it says of its cache."""
    base = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    done = subprocess.run(
        [sys.executable, folder / "kernel.py"],
        env=base | {"PYTHONDONTWRITEBYTECODE": "1"} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_shipped_kernels_are_used_and_scratch_is_removed(tmp_path):
    (tmp_path / "kernel.py").write_text(KERNEL)
    built = run_kernel(tmp_path)
    assert built["hits"] == 0
    shipped = sorted((tmp_path / "__pycache__").iterdir())
    assert shipped, "Numba wrote nothing beside the source"

    taken = run_kernel(tmp_path, NUMBA_CACHE_LOCATOR_CLASSES=LOCATOR)
    assert taken["hits"] == 1
    assert taken["value"] == 4
    assert Path(taken["path"]).parent.name.startswith("linumpy-kernels-")
    assert not Path(taken["path"]).exists()

    # A signature that was not shipped is compiled, and the image's folder stays as it is.
    other = run_kernel(tmp_path, NUMBA_CACHE_LOCATOR_CLASSES=LOCATOR, ARGUMENT="2.5")
    assert other["hits"] == 0
    assert other["value"] == 5.0
    assert sorted((tmp_path / "__pycache__").iterdir()) == shipped
