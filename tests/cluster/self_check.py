"""Correct a small volume and print the digests of result and mask: the same on every machine and in every image.

Run by the tests on the machine and inside the images. It also prints how many kernels had to be compiled.
"""

import hashlib
import json
import sys

import numpy as np


def count_compiled_kernels() -> list[object]:
    """Return a list that grows with every kernel that Numba compiles and would cache."""
    from numba.core.caching import IndexDataCacheFile

    compiled: list[object] = []
    save = IndexDataCacheFile.save

    def count(self, key, data):
        compiled.append(key)
        save(self, key, data)

    IndexDataCacheFile.save = count
    return compiled


def main(backend: str = "native") -> None:
    compiled = count_compiled_kernels()
    from linumpy.gpu import GPU_AVAILABLE
    from linumpy.intensity.bias_field import compute_tissue_mask, n4_correct

    z, y, x = np.meshgrid(np.arange(12), np.arange(60), np.arange(50), indexing="ij")
    tissue = (y - 30) ** 2 + (x - 25) ** 2 < 400
    noise = np.random.default_rng(1).normal(1, 0.05, z.shape)
    volume = ((50 + 400 * tissue * (1 + 0.01 * y + 0.02 * z)) * noise).astype(np.float32)

    mask = compute_tissue_mask(volume, n_serial_slices=3)
    corrected, _ = n4_correct(volume, mask, shrink_factor=2, n_iterations=[10, 10], backend=backend)
    found = {
        "mask": hashlib.sha256(mask.tobytes()).hexdigest(),
        "corrected": hashlib.sha256(corrected.tobytes()).hexdigest(),
        "compiled": len(compiled),
        "gpu": bool(GPU_AVAILABLE),
        "mean": float(corrected.mean(dtype=np.float64)),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
