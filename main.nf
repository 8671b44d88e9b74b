// Parameters and samplesheet in, corrected acquisitions out. What is published stands in conf/publish.config.

include { CHECK_INPUT     } from './modules/check_input/main'
include { TUNE            } from './modules/tune/main'
include { BIAS_CORRECTION } from './workflows/bias_correction'
include { PROVENANCE      } from './modules/provenance/main'

// A path as it is written: brackets and stars are no pattern.
def asFile(path) {
    return file(path, glob: false)
}

// Java takes names by the locale, and ends without a word on it where that lacks one of their letters.
def checkLetters(names) {
    def letters = java.nio.charset.Charset.forName(System.getProperty('sun.jnu.encoding')).newEncoder()
    def faults = names.findAll { name -> !letters.canEncode(name.toString()) }
    if (faults) {
        error("This shell's locale lacks letters of ${faults.join(', ')}: `export LC_ALL=C.UTF-8` and run again")
    }
}

// Nextflow links what tasks read by a shell command, symbolic links followed, and leaves a `$` in it to the shell.
def checkDollars(paths) {
    def faults = paths
        .findAll { path -> path.scheme == 'file' && path.exists() }
        .collect { path -> path.toRealPath().toString() }
        .findAll { path -> path.contains('$') }
    if (faults) {
        error("Nextflow cannot read a path with a dollar sign: rename ${faults.join(', ')}; a symbolic link does not help")
    }
}

// Files that the samplesheet names, as [cell: path]. They are staged for CHECK_INPUT, since a container sees nothing else.
def filesNamedIn(samplesheet) {
    // A file that is empty has no header to split by, one that is not in UTF-8 no text; CHECK_INPUT says so.
    def rows = []
    try {
        rows = samplesheet.text.trim() ? samplesheet.splitCsv(header: true, strip: true, quote: '"') : []
    }
    catch (java.nio.charset.CharacterCodingException error) {
        log.debug("${samplesheet} is not in UTF-8: ${error.message}")
    }
    def cells = rows
        // A byte order mark sticks to the first column's name, and keeps its quotes there.
        .collect { row -> row.collectEntries { column, cell -> [column.replaceAll('[\uFEFF"]', ''), cell] } }
        .collectMany { row -> ['image', 'mask', 'sections'].collect { column -> row[column] } }
        .findAll { cell -> cell }
        .unique()
    checkLetters(cells)
    return cells.collectEntries { cell -> [cell, asFile(cell.contains('://') ? cell : samplesheet.resolveSibling(cell))] }
}

// Hard links fail across file systems and bind mounts of one, so one is tried where it matters.
def hardLinksWork(source, destination) {
    def probe = source.resolve(".link-probe-${workflow.sessionId}")
    def link = destination.resolve(".link-probe-${workflow.sessionId}")
    def works = true
    source.mkdirs()
    destination.mkdirs()
    probe.text = ''
    try {
        java.nio.file.Files.createLink(link, probe)
    }
    catch (Exception error) {
        log.info("Results are copied to ${destination}: hard links from ${source} do not work there (${error.message})")
        works = false
    }
    probe.delete()
    link.delete()
    return works
}

// Image files (SIF) are known by their digest; other images have one in their name, if that is pinned.
def digestOfImageFile(container) {
    return container.startsWith('/') && asFile(container).exists() ? ['sha256sum', container].execute().text.tokenize(' ').first() : ''
}

// Nextflow asks for a job array before it looks at the inputs of its tasks: with what the largest of the batch needs.
def withArrayMemory(plans) {
    def requests = plans.collectMany { plan -> plan.n4_section + plan.correct }.collect { settings -> settings.memory_mb }
    System.setProperty('linumpy.array_mb', "${requests.max() ?: 0}")
    return plans
}

def helpText() {
    def schema = new groovy.json.JsonSlurperClassic().parseText(file("${projectDir}/nextflow_schema.json").text)
    def groups = schema['$defs'].values().collect { group ->
        def lines = group.properties.collect { name, property ->
            def standard = property.default == null ? '' : " [${[property.default].flatten().join(',')}]"
            "  --${name.padRight(28)}${property.description}${standard}"
        }
        "${group.title}\n${lines.join('\n')}"
    }
    return "nextflow run . --input samplesheet.csv --outdir DIR\n\n${groups.join('\n\n')}\n"
}

// A number of the trace; 0 where it holds none.
def traced(text) {
    return text.isNumber() ? text.toDouble() : 0.0
}

// Tasks that failed for good and what they said last (`error: ...` of a script that ended by itself).
def whatFailed(tasks) {
    def failed = tasks.groupBy { task -> task.name }.values()
        .collect { attempts -> attempts.last() }
        .findAll { task -> task.status == 'FAILED' }
    def lines = failed.collect { task ->
        def log = asFile("${task.workdir}/.command.err")
        def said = log.exists() ? log.readLines().findAll { line -> line.trim() } : []
        def last = (said.findAll { line -> line.startsWith('error: ') } ?: said ?: ['']).last()
        "  ${task.name.tokenize(':').last()}: exit status ${task.exit}; ${last ?: 'nothing was said'} [${task.workdir}]"
    }
    return (['What failed:'] + lines).join('\n')
}

// What each kind of task took: a line a process.
def whatWasSpent(tasks) {
    if (!tasks) {
        return 'Nothing is known of what was spent: a trace is written where --outdir or -params-file give outdir'
    }
    def lines = tasks
        .groupBy { task -> task.name.tokenize(' ').first().tokenize(':').last() }
        .collect { name, alike ->
            def cpu = alike.collect { task -> traced(task.realtime) * traced(task['%cpu']) / 1e5 }.sum()
            def memory = alike.collect { task -> traced(task.peak_rss) / 2 ** 20 }.max()
            def read = alike.collect { task -> traced(task.rchar) / 1e9 }.sum()
            def written = alike.collect { task -> traced(task.wchar) / 1e9 }.sum()
            String.format('%-13s %5d  %10.1f  %11.0f  %8.2f  %10.2f', name, alike.size(), cpu, memory, read, written)
        }
    def heading = String.format('%-13s %5s  %10s  %11s  %8s  %10s', 'process', 'tasks', 'CPU s', 'memory MiB', 'read GB', 'written GB')
    return (['What was spent (memory: of the largest task):', heading] + lines).join('\n')
}

workflow {
    main:
    if (params.help.toString() == 'true') {
        log.info(helpText())
        exit(0)
    }
    if (!params.input || !params.outdir) {
        error("Give --input (a samplesheet) and --outdir (a folder for the results); --help lists all parameters")
    }
    checkLetters([params.input, params.outdir, workflow.launchDir, workflow.workDir])
    def samplesheet = file(params.input, checkIfExists: true, glob: false)
    def named = filesNamedIn(samplesheet)
    checkDollars([projectDir, workflow.workDir, samplesheet] + named.values())
    def staged = named.findAll { _cell, path -> path.exists() }
    def publish_mode = params.publish_mode == 'auto'
        ? (hardLinksWork(workflow.workDir, asFile(params.outdir)) ? 'link' : 'copy')
        : params.publish_mode
    System.setProperty('linumpy.publish_mode', publish_mode.toString())

    def request = [
        workflow: [
            nextflow: workflow.nextflow.version.toString(),
            revision: workflow.commitId ?: workflow.revision ?: 'local',
            profile: workflow.profile,
            container_engine: workflow.containerEngine ?: 'none',
            container: workflow.containerEngine ? workflow.container.toString() : '',
            container_sha256: workflow.containerEngine ? digestOfImageFile(workflow.container.toString()) : '',
        ],
        parameters: params,
        paths: named.collectEntries { cell, path -> [cell, path.toUriString()] },
        staged: staged.keySet().withIndex().collectEntries { cell, index -> [cell, "inputs/${index + 1}/${named[cell].name}"] },
    ]
    CHECK_INPUT(
        samplesheet,
        staged.values().toList(),
        channel.of(groovy.json.JsonOutput.toJson(request)).collectFile(name: 'request.json'),
        file("${projectDir}/nextflow_schema.json"),
    )
    acquisitions = CHECK_INPUT.out.plan.flatMap { plan ->
        withArrayMemory(new groovy.json.JsonSlurperClassic().parseText(plan.text))
    }
    acquisitions.subscribe { plan -> plan.report.warnings.each { warning -> log.warn("${plan.id}: ${warning.message}") } }
    TUNE(
        acquisitions
            .filter { plan -> plan.tune }
            .map { plan -> [plan.id, plan.tune, asFile(plan.image), plan.mask ? asFile(plan.mask) : []] }
    )
    BIAS_CORRECTION(acquisitions.filter { plan -> !plan.tune })
    BIAS_CORRECTION.out.unfinished.subscribe { names ->
        if (names) {
            log.error("Not finished: ${names.join(', ')}. Why is told at the end; the other acquisitions are complete.")
        }
    }

    // Two runs gave the same voxels where these files are the same.
    // They are sorted by acquisition: files sort by their task's folder, which is another in every run.
    BIAS_CORRECTION.out.digests.collectFile(
        name: 'digests.tsv',
        storeDir: "${params.outdir}/pipeline_info",
        sort: { file -> file.parent.name },
    )

    // Nothing corrected is nothing to describe: a crate that earlier results have stays.
    PROVENANCE(
        CHECK_INPUT.out.info,
        BIAS_CORRECTION.out.digests.toSortedList { a, b -> a.parent.name <=> b.parent.name }.filter { files -> files },
        file("${projectDir}/main.nf"),
    )

    channel.topic('versions')
        .unique()
        .map { process, tool, version -> "${process.tokenize(':').last()}\t${tool}\t${version}" }
        .collectFile(name: 'software_versions.tsv', storeDir: "${params.outdir}/pipeline_info", sort: true, newLine: true)

    workflow.onComplete = {
        def trace = asFile("${params.outdir}/pipeline_info/trace.tsv")
        def tasks = trace.exists() ? trace.splitCsv(header: true, sep: '\t') : []
        log.info(whatWasSpent(tasks))
        if (workflow.stats.ignoredCount > 0) {
            log.error(whatFailed(tasks))
        }
        else if (workflow.success) {
            def tuned = params.tune.toString() == 'true'
            def page = tuned ? 'tuning.html of each acquisition' : 'index.html leads to the report of each acquisition'
            log.info("Results: ${params.outdir} (${page})")
        }
    }
}
