"""The floor: the image is read and the same OME-Zarr written, with all its levels, and nothing is corrected.

    python -m benchmarks.stage_floor --image 1x.ome.zarr --output copy.ome.zarr --threads 2

Same reader, codec, chunks, shards and threads as the stage, less the digests. The log line says what was spent.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from linumpy.stage.script import run
from linumpy.io.ome_zarr import open_image
from linumpy.io.pyramid import layout_like
from linumpy.io.runtime import configure_codecs
from linumpy.io.writer import PyramidBuilder, create_pyramid


class _NoDigest:
    def update(self, *_: Any) -> None:
        """Take nothing."""


def copy(image_path: Path, output: Path) -> None:
    """Copy an image, level 0 read and all levels written."""
    image = open_image(image_path, validate=False)
    layout = layout_like(image, output_dtype="float32", ome_zarr_version="0.5")
    writer = create_pyramid(output, layout)
    writer.digests = tuple(_NoDigest() for _ in layout.levels)  # type: ignore[assignment]
    builder = PyramidBuilder(writer)
    for z, y, x in builder.blocks():
        builder.add(z.start, y.start, x.start, image.read(z.start, z.stop, y, x))
    builder.close()


def main(argv: list[str] | None = None) -> int:
    """Copy one image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(argv)
    configure_codecs(args.threads)
    return run(lambda: copy(args.image, args.output))


if __name__ == "__main__":
    sys.exit(main())
