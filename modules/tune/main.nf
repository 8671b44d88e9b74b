// A small stand-in of an acquisition to candidates of settings side by side, and a parameter file with the best.
process TUNE {
    tag "${id}"
    label 'process_medium'
    label 'process_gpu'
    memory { 1.MB * settings.memory_mb * task.attempt }

    input:
    tuple val(id), val(settings), path(image, stageAs: 'image/*'), path(given_mask, stageAs: 'given_mask/*')

    output:
    tuple val(id), path("results/${id}/tuning.html"), emit: report
    tuple val(id), path("results/${id}/tuning.json"), emit: figures
    tuple val(id), path("results/${id}/tuned_parameters.json"), emit: parameters
    tuple val("${task.process}"), val('linumpy'), eval('python3 -c "import linumpy; print(linumpy.__version__)"'), topic: versions

    script:
    """
    tune.py \\
        --image ${image} \\
        --given_mask ${given_mask} \\
        --channel '${settings.channel}' \\
        --timepoint '${settings.timepoint}' \\
        --voxel_size_um '${settings.voxel_size_um}' \\
        --level ${settings.level} \\
        --stride ${settings.stride} \\
        --sections ${settings.sections} \\
        --factors ${settings.factors} \\
        --parameters '${groovy.json.JsonOutput.toJson(settings.parameters)}' \\
        --name ${id} \\
        --threads ${task.cpus} \\
        --output results/${id}
    """

    stub:
    """
    mkdir -p results/${id}
    echo '<html></html>' > results/${id}/tuning.html
    echo '{}' | tee results/${id}/tuning.json > results/${id}/tuned_parameters.json
    """
}
