"""Correct a small volume and print the digest of the result and of the mask: the same on every machine and image.

Run by the tests on the machine and inside the images; prints also how many kernels had to be compiled.
"""

import hashlib
import json
import sys

import numpy as np
from numba.core.caching import CacheImpl, IndexDataCacheFile

compiled = []
save = IndexDataCacheFile.save


def count(self: IndexDataCacheFile, key: object, data: object) -> None:
    compiled.append(CacheImpl.__name__)
    save(self, key, data)


IndexDataCacheFile.save = count

from linumpy.gpu import GPU_AVAILABLE  # noqa: E402
from linumpy.intensity.bias_field import compute_tissue_mask, n4_correct  # noqa: E402

backend = sys.argv[1] if len(sys.argv) > 1 else "native"
z, y, x = np.meshgrid(np.arange(12), np.arange(60), np.arange(50), indexing="ij")
tissue = ((y - 30) ** 2 + (x - 25) ** 2 < 400).astype(np.float32)
noise = np.random.default_rng(1).normal(1, 0.05, z.shape).astype(np.float32)
volume = (50 + 400 * tissue * (1 + 0.01 * y + 0.02 * z)).astype(np.float32) * noise

mask = compute_tissue_mask(volume, n_serial_slices=3)
corrected, _ = n4_correct(volume, mask, shrink_factor=2, n_iterations=[10, 10], backend=backend)
print(
    json.dumps(
        {
            "mask": hashlib.sha256(mask.tobytes()).hexdigest(),
            "corrected": hashlib.sha256(corrected.tobytes()).hexdigest(),
            "compiled": len(compiled),
            "gpu": bool(GPU_AVAILABLE),
            "mean": float(corrected.mean()),
        }
    )
)
