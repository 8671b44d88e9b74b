// Metrics of all acquisitions that were finished to one page, which names those that were not.
process BATCH_REPORT {
    label 'process_low'

    input:
    val acquisitions
    path metrics, stageAs: 'metrics/?/*'

    output:
    path 'results/index.html', emit: report

    script:
    """
    cat > settings.json << 'LINUMPY_SETTINGS'
    ${groovy.json.JsonOutput.toJson([acquisitions: acquisitions])}
    LINUMPY_SETTINGS
    batch_report.py \\
        --settings settings.json \\
        --metrics metrics \\
        --output results/index.html
    """

    stub:
    """
    mkdir results
    echo '<html></html>' > results/index.html
    """
}
