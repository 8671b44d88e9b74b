"""OME-Zarr in and out: volumes, pyramids, fingerprints."""
