// Three tasks that say where they ran and which GPU they were given: shows the executor and the container engine apart
// from the stage.
process WHERE {
    tag "${number}"
    label 'process_gpu'
    cpus 1
    memory 300.MB

    input:
    val number

    output:
    path 'where.txt', emit: where

    script:
    """
    python3 -c 'import linumpy, os, sys; print(${number}, sys.prefix, os.environ.get("CUDA_VISIBLE_DEVICES"))' > where.txt
    """
}

workflow {
    WHERE(channel.of(1, 2, 3))
    WHERE.out.where.collectFile(name: 'where.txt', storeDir: params.outdir, sort: true)
}
