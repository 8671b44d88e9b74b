// A slab of planes, its mask and the lattices to its corrected chunks, of every level whose chunk rows it holds whole.
process CORRECT {
    tag "${id} ${settings.z_start}-${settings.z_stop}"
    label 'process_medium'
    memory { 1.MB * settings.memory_mb * task.attempt }

    input:
    tuple val(id), val(settings), path(image, stageAs: 'image/*'), path(mask), path(bias), path(match)

    output:
    tuple val(id), val(settings.n_slabs), path("slab_*"), emit: slab
    tuple val("${task.process}"), val('linumpy'), eval('python3 -c "import linumpy; print(linumpy.__version__)"'), topic: versions

    script:
    """
    cat > settings.json << 'LINUMPY_SETTINGS'
    ${groovy.json.JsonOutput.toJson(settings)}
    LINUMPY_SETTINGS
    correct.py \\
        --settings settings.json \\
        --image ${image} \\
        --mask ${mask} \\
        --bias ${bias} \\
        --match ${match} \\
        --threads ${task.cpus} \\
        --output slab_${settings.z_start.toString().padLeft(8, '0')}
    """

    stub:
    """
    mkdir slab_${settings.z_start.toString().padLeft(8, '0')}
    """
}
