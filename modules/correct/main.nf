// A slab of planes, its mask and the lattices to its corrected chunks, of every level whose chunk rows it holds whole.
process CORRECT {
    tag "${id} ${settings.z_start}-${settings.z_stop}"
    label 'process_medium'
    memory { 1.MB * settings.memory_mb * task.attempt }

    input:
    tuple val(id), val(settings), path(image, stageAs: 'image/*'), path(mask), path(bias)

    output:
    tuple val(id), val(settings.n_slabs), path("slab_*"), emit: slab
    tuple val("${task.process}"), val('linumpy'), eval('python3 -c "import linumpy; print(linumpy.__version__)"'), topic: versions

    script:
    """
    correct.py \\
        --image ${image} \\
        --mask ${mask} \\
        --bias ${bias} \\
        --channel '${settings.channel}' \\
        --timepoint '${settings.timepoint}' \\
        --voxel_size_um '${settings.voxel_size_um}' \\
        --level ${settings.level} \\
        --stride ${settings.stride} \\
        --z_start ${settings.z_start} \\
        --z_stop ${settings.z_stop} \\
        --n_levels ${settings.n_levels} \\
        --strength ${settings.strength} \\
        --zero_outside_mask ${settings.zero_outside_mask} \\
        --save_bias_field ${settings.save_bias_field} \\
        --output_dtype ${settings.output_dtype} \\
        --ome_zarr_version ${settings.ome_zarr_version} \\
        --threads ${task.cpus} \\
        --output slab_${settings.z_start.toString().padLeft(8, '0')}
    """

    stub:
    """
    mkdir slab_${settings.z_start.toString().padLeft(8, '0')}
    """
}
