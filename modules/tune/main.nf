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
    cat > settings.json << 'LINUMPY_SETTINGS'
    ${groovy.json.JsonOutput.toJson(settings)}
    LINUMPY_SETTINGS
    tune.py \\
        --settings settings.json \\
        --image ${image} \\
        --given_mask ${given_mask} \\
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
