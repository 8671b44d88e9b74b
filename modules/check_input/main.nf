// Every parameter, samplesheet cell and image header is checked before any voxel is read, but for sections that are to be
// found; out comes the plan, or all errors at once.
process CHECK_INPUT {
    label 'process_low'
    cache false // what it looks at may have changed where no task hash sees it

    input:
    path samplesheet
    path files, stageAs: 'inputs/?/*'
    path request
    path schema

    output:
    path 'plan.json', emit: plan
    path 'results/pipeline_info/*', emit: info
    tuple val("${task.process}"), val('linumpy'), eval('python3 -c "import linumpy; print(linumpy.__version__)"'), topic: versions

    script:
    """
    check_input.py \\
        --samplesheet ${samplesheet} \\
        --request ${request} \\
        --schema ${schema} \\
        --output_plan plan.json \\
        --output_info results/pipeline_info
    """

    stub:
    """
    check_input.py \\
        --samplesheet ${samplesheet} \\
        --request ${request} \\
        --schema ${schema} \\
        --output_plan plan.json \\
        --output_info results/pipeline_info
    """
}
