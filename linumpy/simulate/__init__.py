"""Simulate a serial acquisition whose true bias field is known.

A correction can be judged on real data only by how even it looks; on a simulated acquisition by how far
its field is from the one that was put in. This package builds a block of tissue in agarose, "images" it
section by section and returns the image together with everything that went into it::

    intensity = saturate(reflectivity * exp(log_bias_field) * speckle + noise)

    log_bias_field(section s, depth d below the block face, y, x) =
          log gain_s                                        drift of laser and polarisation between sections
        - attenuation_s * d                                 Beer-Lambert, there and back
        - log(1 + ((d - focus(y, x)) / rayleigh_range)^2)   confocal gate on a curved focal surface
        + log(1 - cut_dip * exp(-d / cut_dip_depth))        rough, damaged block face left by the blade
        + vignetting + illumination(y, x) + illumination_s(y, x)

The tissue has three classes (grey matter, white matter, dark nuclei) with texture, an outline that moves
with Z when the block is cut obliquely, and agarose around it. Speckle is fully developed: intensity
follows a gamma distribution whose shape is the number of independent looks in a voxel. Smooth random
fields are cubic B-splines with random coefficients, written here and not taken from the solver, so that
a mistake there cannot hide itself.

Axes are (Z, Y, X) everywhere and depth grows with Z. Left out: shadows below vessels, motion, stitching
seams, refraction at the block face, and correlation of speckle between voxels.

Memory is 13 bytes per voxel (volume, truth and log field in single precision, labels) plus some planes;
time about 0.15 us per voxel on one core.

Run ``python -m linumpy.simulate --output DIR`` for an OME-Zarr with its samplesheet.
"""

from linumpy.simulate.acquisition import CLASS_NAMES, Acquisition, simulate_acquisition
from linumpy.simulate.physics import VARIANTS, Physics

__all__ = ["CLASS_NAMES", "VARIANTS", "Acquisition", "Physics", "simulate_acquisition"]
