// Samples of a run of sections to the lattice of each section's log bias field.
process N4_SECTION {
    tag "${id} ${settings.first}-${settings.last}"
    label 'process_medium'
    label 'process_gpu'
    memory { 1.MB * settings.memory_mb * task.attempt }

    input:
    tuple val(id), val(settings), path(samples)

    output:
    tuple val(id), val(settings.n_batches), path("sections_*.json"), emit: fits
    tuple val("${task.process}"), val('linumpy'), eval('python3 -c "import linumpy; print(linumpy.__version__)"'), topic: versions

    script:
    """
    cat > settings.json << 'LINUMPY_SETTINGS'
    ${groovy.json.JsonOutput.toJson(settings)}
    LINUMPY_SETTINGS
    n4_section.py \\
        --settings settings.json \\
        --samples ${samples} \\
        --threads ${task.cpus} \\
        --output sections_${settings.first.toString().padLeft(6, '0')}.json
    """

    stub:
    """
    echo '[]' > sections_${settings.first.toString().padLeft(6, '0')}.json
    """
}
