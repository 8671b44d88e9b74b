"""Compile all kernels once, so that no task does: ``python -m linumpy.n4.warm``.

Run it when an environment or an image is built, after its last change to the sources: Numba keeps the
compiled kernels in ``__pycache__`` beside them (or under ``NUMBA_CACHE_DIR``) and recompiles what has
changed. Prints what the kernels were compiled for, and how long a process waits for them from then on.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import time

OTHERS = (
    "linumpy.intensity.correction_kernels",
    "linumpy.intensity.plane_kernels",
    "linumpy.stage.checksum_kernels",
)
READY = f"import linumpy.n4.native, linumpy.intensity.mask_kernels, {', '.join(OTHERS)}"


def main() -> int:
    """Compile, or find compiled, every kernel; return the exit status."""
    import numpy as np

    from linumpy.intensity.tissue_mask import compute_tissue_mask
    from linumpy.n4 import target
    from linumpy.n4.fit import fit_log_bias_field

    pinned = target.pin()
    start = time.perf_counter()
    ramp = 1 + np.arange(6 * 40 * 40, dtype=np.float32).reshape(6, 40, 40)
    fit_log_bias_field(ramp, None, n_control_points=(4, 4, 4), n_iterations=[2])
    compute_tissue_mask(ramp, n_serial_slices=2)
    for module in OTHERS:
        importlib.import_module(module)
    compiled = time.perf_counter() - start

    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", READY], check=True)
    ready = time.perf_counter() - start
    kind = target.CPU_NAME if pinned else "this CPU"
    print(f"kernels for {kind}: compiled or found in {compiled:.1f} s; a new process has them after {ready:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
