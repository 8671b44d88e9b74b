// Statistics, samples and lattices of an acquisition to its metrics and its report.
process REPORT {
    tag "${id}"
    label 'process_low'

    input:
    tuple val(id), val(settings), path(samples), path(tissue), path(bias), path(match), path(correction)

    output:
    tuple val(id), path("results/${id}/report.html"), emit: report
    tuple val(id), path("results/${id}/metrics.json"), emit: metrics
    path "results/${id}/digests.tsv", emit: digests
    tuple val("${task.process}"), val('linumpy'), eval('python3 -c "import linumpy; print(linumpy.__version__)"'), topic: versions

    script:
    """
    cat > settings.json << 'LINUMPY_SETTINGS'
    ${groovy.json.JsonOutput.toJson(settings)}
    LINUMPY_SETTINGS
    report.py \\
        --settings settings.json \\
        --samples ${samples} \\
        --tissue ${tissue} \\
        --bias ${bias} \\
        --match ${match} \\
        --correction ${correction} \\
        --output_report results/${id}/report.html \\
        --output_metrics results/${id}/metrics.json \\
        --output_digests results/${id}/digests.tsv
    """

    stub:
    """
    mkdir -p results/${id}
    echo '<html></html>' > results/${id}/report.html
    echo '{}' > results/${id}/metrics.json
    echo '${id}	image	none' > results/${id}/digests.tsv
    """
}
