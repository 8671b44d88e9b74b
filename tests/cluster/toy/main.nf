// Three tasks that say where they ran: shows the executor and the container engine apart from the stage.
process WHERE {
    tag "${number}"
    cpus 1
    memory 300.MB

    input:
    val number

    output:
    path 'where.txt', emit: where

    script:
    """
    python3 -c 'import linumpy, sys; print(${number}, sys.prefix)' > where.txt
    """
}

workflow {
    WHERE(channel.of(1, 2, 3))
    WHERE.out.where.collectFile(name: 'where.txt', storeDir: params.outdir, sort: true)
}
