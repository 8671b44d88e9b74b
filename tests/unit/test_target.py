"""Compiled kernels: one CPU target, compiled ahead, usable where nothing can be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import llvmlite.binding
import pytest
from numba.core import config

import linumpy
from linumpy.n4 import target
from linumpy.n4.warm import main as warm

FIT = """
import numpy as np
from linumpy.n4 import compiled
from linumpy.n4.fit import fit_log_bias_field
fit = fit_log_bias_field(1 + np.arange(600.0).reshape(6, 10, 10), None, n_control_points=(4, 4, 4), n_iterations=[3])
print(fit.backend, sum(compiled.contract.stats.cache_hits.values()), fit.lattice.coefficients.tobytes().hex()[:64])
"""


@pytest.fixture
def unpinned(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(config, "CPU_NAME", config.CPU_NAME)
    monkeypatch.setattr(config, "CPU_FEATURES", config.CPU_FEATURES)
    target.pin.cache_clear()
    yield
    target.pin.cache_clear()


def run(code: str, **environment: str) -> str:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")} | environment
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_process_of_its_own_loads_no_linear_algebra() -> None:
    code = """
import sys
from linumpy.n4 import target
target.alone = {}
from linumpy.n4 import compiled
print("scipy.linalg" in sys.modules)
"""
    loaded, *fit = run(code.format(False) + FIT).split()
    spared, *same_fit = run(code.format(True) + FIT + "from scipy.linalg import cython_blas").split()
    assert (loaded, spared) == ("True", "False")
    assert fit == same_fit
    assert fit[:2] == ["numba", "1"]  # compiled before, not here


@pytest.mark.usefixtures("unpinned")
def test_this_machine_is_pinned() -> None:
    if target.missing_features():
        pytest.skip(f"this CPU lacks {target.missing_features()}")
    assert target.pin()
    assert (config.CPU_NAME, config.CPU_FEATURES) == (target.CPU_NAME, target.CPU_FEATURES)


@pytest.mark.usefixtures("unpinned")
def test_an_older_cpu_compiles_for_itself_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(llvmlite.binding, "get_host_cpu_features", lambda: {"sse2": True, "avx": True, "avx2": False})
    assert not target.pin()
    assert config.CPU_NAME is None
    assert config.CPU_FEATURES is None
    assert "this CPU lacks" in caplog.text
    assert "avx2" in caplog.text


@pytest.mark.usefixtures("unpinned")
def test_another_architecture_compiles_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert not target.pin()
    assert "aarch64" in target.missing_features()[0]


@pytest.mark.usefixtures("unpinned")
def test_what_the_user_set_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "CPU_NAME", "generic")
    assert not target.pin()
    assert config.CPU_NAME == "generic"


def test_warming_prints_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    assert warm() == 0
    assert target.CPU_NAME in capsys.readouterr().out


@pytest.mark.slow
def test_a_read_only_installation_uses_the_kernels_it_ships(tmp_path: Path) -> None:
    """The package with its kernels is made read-only: a process must load them, not compile them anew."""
    warm()
    package = tmp_path / "linumpy"
    shutil.copytree(Path(linumpy.__file__).parent, package)
    environment = {"PYTHONPATH": str(tmp_path), "HOME": str(tmp_path / "home"), "PYTHONDONTWRITEBYTECODE": "1"}
    closed = "import os; os.access = lambda path, mode: False\n"  # root may write anywhere: say that it may not
    backend, hits, bits = run(closed + FIT, **environment).split()
    assert backend == "numba"
    assert hits == "1"
    assert run(FIT).split()[2] == bits
    assert not list(tmp_path.joinpath("home").rglob("*.nbi"))
