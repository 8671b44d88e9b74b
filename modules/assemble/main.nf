// The slabs of an acquisition to one OME-Zarr: chunk files linked, the levels that no slab could write, metadata.
process ASSEMBLE {
    tag "${id}"
    label 'process_medium'
    memory { 1.MB * settings.memory_mb * task.attempt }

    input:
    tuple val(id), val(settings), path(image, stageAs: 'image/*'), path(slabs, stageAs: 'slabs/*')

    output:
    tuple val(id), path("results/${id}/corrected.ome.zarr"), emit: corrected
    tuple val(id), path("results/${id}/bias_field.ome.zarr"), optional: true, emit: bias_field
    tuple val(id), path('correction'), emit: statistics
    tuple val("${task.process}"), val('linumpy'), eval('python3 -c "import linumpy; print(linumpy.__version__)"'), topic: versions

    script:
    """
    cat > settings.json << 'LINUMPY_SETTINGS'
    ${groovy.json.JsonOutput.toJson(settings)}
    LINUMPY_SETTINGS
    assemble.py \\
        --settings settings.json \\
        --image ${image} \\
        --slabs slabs \\
        --threads ${task.cpus} \\
        --output_folder results/${id} \\
        --output_statistics correction
    """

    stub:
    """
    mkdir -p results/${id}/corrected.ome.zarr correction
    echo '{"zarr_format": 3, "node_type": "group"}' > results/${id}/corrected.ome.zarr/zarr.json
    echo '{}' > correction/correction.json
    """
}
