// Image (Z, Y, X) to tissue mask and to the samples that N4 fits on, in one reading.
process TISSUE_MASK {
    tag "${id}"
    label 'process_medium'
    label 'process_gpu'
    memory { 1.MB * settings.memory_mb * task.attempt }

    input:
    tuple val(id), val(settings), path(image, stageAs: 'image/*'), path(given_mask, stageAs: 'given_mask/*')

    output:
    tuple val(id), path("results/${id}/mask.ome.zarr"), emit: mask
    tuple val(id), path('samples'), emit: samples
    tuple val(id), path('tissue.json'), emit: statistics
    tuple val("${task.process}"), val('linumpy'), eval('python3 -c "import linumpy; print(linumpy.__version__)"'), topic: versions

    script:
    """
    tissue_mask.py \\
        --image ${image} \\
        --given_mask ${given_mask} \\
        --channel '${settings.channel}' \\
        --timepoint '${settings.timepoint}' \\
        --voxel_size_um '${settings.voxel_size_um}' \\
        --level ${settings.level} \\
        --stride ${settings.stride} \\
        --sections ${settings.sections} \\
        --mask_method ${settings.mask_method} \\
        --mask_min_size ${settings.mask_min_size} \\
        --mask_largest ${settings.mask_largest} \\
        --smoothing_sigma ${settings.smoothing_sigma} \\
        --smoothing_sigma_z ${settings.smoothing_sigma_z} \\
        --closing_radius ${settings.closing_radius} \\
        --z_closing_sections ${settings.z_closing_sections} \\
        --section_shrink ${settings.section_shrink} \\
        --stack_shrink ${settings.stack_shrink} \\
        --end_stride ${settings.end_stride} \\
        --backend ${settings.backend} \\
        --max_mb ${settings.max_mb} \\
        --ome_zarr_version ${settings.ome_zarr_version} \\
        --threads ${task.cpus} \\
        --output_mask results/${id}/mask.ome.zarr \\
        --output_samples samples \\
        --output_statistics tissue.json
    """

    stub:
    """
    mkdir -p results/${id}/mask.ome.zarr samples
    echo '{"zarr_format": 3, "node_type": "group"}' > results/${id}/mask.ome.zarr/zarr.json
    echo '{}' | tee samples/samples.json > tissue.json
    """
}
