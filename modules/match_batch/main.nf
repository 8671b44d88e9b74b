// Levels of the tissue of all acquisitions to the factor of each: once a run, when all fits have ended.
process MATCH_BATCH {
    label 'process_low'

    input:
    val acquisitions
    path levels, stageAs: 'levels/*'

    output:
    path 'results/*/bias/match.json', emit: matches
    tuple val("${task.process}"), val('linumpy'), eval('python3 -c "import linumpy; print(linumpy.__version__)"'), topic: versions

    script:
    """
    cat > settings.json << 'LINUMPY_SETTINGS'
    ${groovy.json.JsonOutput.toJson([acquisitions: acquisitions])}
    LINUMPY_SETTINGS
    match_batch.py \\
        --settings settings.json \\
        --levels levels \\
        --output results
    """

    stub:
    """
    for level in levels/*.json; do
        name=\$(basename "\$level" .json)
        mkdir -p "results/\$name/bias"
        echo '{}' > "results/\$name/bias/match.json"
    done
    """
}
