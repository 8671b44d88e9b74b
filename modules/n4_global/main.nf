// Samples of the stack, less the sections' fields, to the whole bias field: all lattices and gains of an acquisition.
process N4_GLOBAL {
    tag "${id}"
    label 'process_medium'
    label 'process_gpu'
    memory { 1.MB * settings.memory_mb * task.attempt }

    input:
    tuple val(id), val(settings), path(samples), path(section_fits, stageAs: 'section_fits/*')

    output:
    tuple val(id), path("results/${id}/bias"), emit: bias
    tuple val(id), path("levels/${id}.json"), emit: level, optional: true // where acquisitions are matched
    tuple val("${task.process}"), val('linumpy'), eval('python3 -c "import linumpy; print(linumpy.__version__)"'), topic: versions

    script:
    """
    cat > settings.json << 'LINUMPY_SETTINGS'
    ${groovy.json.JsonOutput.toJson(settings)}
    LINUMPY_SETTINGS
    n4_global.py \\
        --settings settings.json \\
        --samples ${samples} \\
        --section_fits section_fits \\
        --threads ${task.cpus} \\
        --output results/${id}/bias \\
        --output_level levels/${id}.json
    """

    stub:
    """
    mkdir -p results/${id}/bias
    echo '{}' | tee results/${id}/bias/sections.json > results/${id}/bias/global.json
    ${settings.match_batch ? "mkdir levels; echo '{}' > levels/${id}.json" : ''}
    """
}
