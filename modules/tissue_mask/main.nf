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
    cat > settings.json << 'LINUMPY_SETTINGS'
    ${groovy.json.JsonOutput.toJson(settings)}
    LINUMPY_SETTINGS
    tissue_mask.py \\
        --settings settings.json \\
        --image ${image} \\
        --given_mask ${given_mask} \\
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
