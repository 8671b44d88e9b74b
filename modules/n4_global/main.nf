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
    tuple val("${task.process}"), val('linumpy'), eval('python3 -c "import linumpy; print(linumpy.__version__)"'), topic: versions

    script:
    """
    n4_global.py \\
        --samples ${samples} \\
        --section_fits ${section_fits} \\
        --mode ${settings.mode} \\
        --harmonise ${settings.harmonise} \\
        --spline_distance_mm ${settings.spline_distance_mm} \\
        --n_iterations '${settings.n_iterations}' \\
        --shading_mm ${settings.shading_mm} \\
        --depth_profile ${settings.depth_profile} \\
        --backend ${settings.backend} \\
        --threads ${task.cpus} \\
        --output results/${id}/bias
    """

    stub:
    """
    mkdir -p results/${id}/bias
    echo '{}' | tee results/${id}/bias/sections.json > results/${id}/bias/global.json
    """
}
