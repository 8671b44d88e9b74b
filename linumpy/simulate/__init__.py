"""Simulate a serial acquisition whose true bias field is known.

A correction can be judged on real data only by how even it looks; on a simulated acquisition by how far
its field is from the one that was put in. This package builds a block of tissue in agarose, "images" it
section by section and returns the image together with everything that went into it::

    intensity = saturate(shots(reflectivity * exp(log_bias_field) * speckle) + offset + noise)

    log_bias_field(section s, depth d below the block face, y, x) =
          log gain_s                                        drift of laser and polarisation between sections
        - attenuation_s * d                                 Beer-Lambert, there and back; a share of it may
                                                            follow the brightness above instead of d
        - log(1 + ((d - focus(y, x)) / rayleigh_range)^2)   confocal gate on a curved, tilted focal surface
        + log(1 - cut_dip * exp(-d / cut_dip_depth))        rough, damaged block face left by the blade
        + vignetting (of the field or of each tile) + illumination(y, x) + illumination_s(y, x)

`image_volume` images any even volume: an `organ` with tapering ends, grey shell, white core and a ventricle, or
a file (`open_even_volume`). `simulate_acquisition` images the prism, whose three classes (grey matter, white
matter, dark nuclei) are the same in every plane, with an outline that moves with Z when the block is cut
obliquely. `case` images the named cases that corrections are measured on; `damage` has what befalls single
planes, sections and tiles.

Speckle is fully developed: intensity follows a gamma distribution whose shape is the number of independent looks in a
voxel. Smooth random fields are cubic B-splines with random coefficients, written here and not taken from the solver, so
that a mistake there cannot hide itself. Every draw comes from a seed, each ingredient having a stream of its own.

Axes are (Z, Y, X) everywhere and depth grows with Z. Left out: shadows below vessels, motion, stitching
seams, refraction at the block face, and correlation of speckle between voxels.

Memory is 13 bytes per voxel (volume, truth and log field in single precision, labels) plus some planes;
time about 0.15 us per voxel on one core.

Run ``python -m linumpy.simulate --output DIR`` for an OME-Zarr with its samplesheet.
"""

from linumpy.simulate.acquisition import CLASS_NAMES, Acquisition, image_volume
from linumpy.simulate.cases import CASES, DAMAGED, case
from linumpy.simulate.even import EvenVolume, even_volume, open_even_volume
from linumpy.simulate.organ import organ
from linumpy.simulate.physics import VARIANTS, Imaging, Physics
from linumpy.simulate.prism import simulate_acquisition

__all__ = [
    "CASES",
    "CLASS_NAMES",
    "DAMAGED",
    "VARIANTS",
    "Acquisition",
    "EvenVolume",
    "Imaging",
    "Physics",
    "case",
    "even_volume",
    "image_volume",
    "open_even_volume",
    "organ",
    "simulate_acquisition",
]
