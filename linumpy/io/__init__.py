"""OME-Zarr in and out.

`linumpy.io.ome_zarr`
    `open_image`, `open_mask`: volumes (Z, Y, X) in OME-Zarr 0.4 and 0.5 by any writer.
`linumpy.io.pyramid`, `linumpy.io.writer`, `linumpy.io.downsample`
    Plan, write and finish a multiscale image; means over bins.
`linumpy.io.assemble`
    One store out of the chunk files of many, by hard links.
`linumpy.io.chunks`, `linumpy.io.digest`
    Missing chunks and the fingerprint of a store; a digest of its voxels.
`linumpy.io.runtime`
    `configure_codecs`: how a task decodes and encodes.

Nothing is imported here: a task loads what it uses.
"""
