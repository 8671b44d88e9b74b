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
    n4_section.py \\
        --samples ${samples} \\
        --first ${settings.first} \\
        --last ${settings.last} \\
        --spline_distance_mm ${settings.spline_distance_mm} \\
        --n_iterations '${settings.n_iterations}' \\
        --shading_mm ${settings.shading_mm} \\
        --depth_profile ${settings.depth_profile} \\
        --backend ${settings.backend} \\
        --threads ${task.cpus} \\
        --output sections_${settings.first.toString().padLeft(6, '0')}.json
    """

    stub:
    """
    echo '[]' > sections_${settings.first.toString().padLeft(6, '0')}.json
    """
}
