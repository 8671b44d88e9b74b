// What the run used and made to a Workflow Run RO-Crate, whose folder is that of the results.
process PROVENANCE {
    label 'process_low'
    cache 'deep' // CHECK_INPUT writes its files anew in every run

    input:
    path info, stageAs: 'info/*'
    path digests, stageAs: 'digests/?/*'
    path workflow_file

    output:
    path 'results/ro-crate-metadata.json', emit: crate
    path 'results/pipeline_info/main.nf', emit: workflow_file

    script:
    """
    provenance.py \\
        --info info \\
        --digests digests \\
        --workflow_file ${workflow_file} \\
        --output results
    """

    stub:
    """
    mkdir -p results/pipeline_info
    echo '{}' > results/ro-crate-metadata.json
    cp ${workflow_file} results/pipeline_info/main.nf
    """
}
