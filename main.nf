// Parameters and samplesheet in, corrected acquisitions out, published acquisition by acquisition.

include { CHECK_INPUT     } from './modules/check_input/main'
include { TUNE            } from './modules/tune/main'
include { BIAS_CORRECTION } from './workflows/bias_correction'
include { PROVENANCE      } from './modules/provenance/main'
include { asFile ; checkDollars ; checkLetters ; filesNamedIn ; surroundings } from './workflows/files'
include { publishAcquisition ; publishRun } from './workflows/publish'

// Image files (SIF) are known by their digest; other images have one in their name, if that is pinned.
def digestOfImageFile(container) {
    return container.startsWith('/') && asFile(container).exists() ? ['sha256sum', container].execute().text.tokenize(' ').first() : ''
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

// What CHECK_INPUT refused, if it did: its error, whole.
def refusal(tasks) {
    def checks = tasks.findAll { task -> task.name.startsWith('CHECK_INPUT') && task.status == 'FAILED' && task.exit == '1' }
    def said = checks ? asFile("${checks.last().workdir}/.command.err").readLines() : []
    def faults = said.dropWhile { line -> !line.startsWith('error: ') }.takeWhile { line -> !line.startsWith('INFO ') }
    return faults.join('\n')
}

// What each kind of task took: a line a process.
def whatWasSpent(tasks) {
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

// Nextflow writes its trace, report and timeline when all else is over: into a folder of this run (nextflow.config), from
// which they go to where the run is described, if it is, and to the work directory in any case. What to do is said after that,
// below all that Nextflow says, and to those who silence it (-q), too.
def atTheVeryEnd(records, places, words) {
    Runtime.runtime.addShutdownHook(new Thread({ ->
        try {
            def files = records.exists() ? records.listFiles() : []
            places.each { place ->
                place.mkdirs()
                files.each { file -> file.copyTo(place.resolve(file.name)) }
            }
            records.deleteDir()
        }
        catch (Exception error) {
            System.out.println("Trace, report and timeline stay in ${records}: ${error.message}")
        }
        words.each { said -> System.out.println(said) }
    }))
}

workflow {
    main:
    def records = workflow.launchDir.resolve(".nextflow/linumpy-n4/${ProcessHandle.current().pid()}")
    def places = []
    def words = []
    atTheVeryEnd(records, places, words)
    if (params.help.toString().toLowerCase() == 'true') {
        log.info(helpText())
        exit(0)
    }
    def needed = [input: 'a samplesheet', outdir: 'a folder for the results'].findAll { name, _what -> !params.getOrDefault(name, null) }
    if (needed) {
        error("Give ${needed.collect { name, what -> "--${name} (${what})" }.join(' and ')}; --help lists all parameters")
    }
    checkLetters([params.input, params.outdir, workflow.launchDir, workflow.workDir])
    def samplesheet = file(params.input, checkIfExists: true, glob: false)
    def outdir = asFile(params.outdir.toString())
    def named = filesNamedIn(samplesheet)
    checkDollars([projectDir, workflow.workDir, samplesheet] + named.values())
    def staged = named.findAll { _cell, path -> path.exists() }
    places << workflow.workDir.resolve('pipeline_info')

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
        surroundings: surroundings(samplesheet, named, outdir, workflow),
        staged: staged.keySet().withIndex().collectEntries { cell, index -> [cell, "inputs/${index + 1}/${named[cell].name}"] },
    ]
    CHECK_INPUT(
        samplesheet,
        staged.values().toList(),
        channel.of(groovy.json.JsonOutput.toJson(request)).collectFile(name: 'request.json'),
        file("${projectDir}/nextflow_schema.json"),
    )
    acquisitions = CHECK_INPUT.out.plan.flatMap { plan -> new groovy.json.JsonSlurperClassic().parseText(plan.text) }
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

    published = BIAS_CORRECTION.out.results
        .mix(TUNE.out.report.map { id, page -> [id, [page.parent]] })
        .map { id, folders -> publishAcquisition(id, folders, outdir, params.publish_mode) }

    // Nothing corrected is nothing to describe: a crate that earlier results have stays.
    PROVENANCE(
        CHECK_INPUT.out.info,
        BIAS_CORRECTION.out.digests.toSortedList { a, b -> a.parent.name <=> b.parent.name }.filter { files -> files },
        file("${projectDir}/main.nf"),
    )

    // Two runs gave the same voxels where these files are the same.
    // They are sorted by acquisition: files sort by their task's folder, which is another in every run.
    digests = BIAS_CORRECTION.out.digests.collectFile(name: 'digests.tsv', sort: { file -> file.parent.name })
    versions = channel.topic('versions')
        .unique()
        .map { process, tool, version -> "${process.tokenize(':').last()}\t${tool}\t${version}" }
        .collectFile(name: 'software_versions.tsv', sort: true, newLine: true)

    asked = acquisitions.map { plan -> plan.id }.toSortedList()
    done = published.map { id, _files -> id }.toSortedList()
    run = asked
        .map { ids -> [ids] }
        .combine(done.map { ids -> [ids] })
        .filter { _ids, finished -> finished }
        .map { ids, finished -> groovy.json.JsonOutput.toJson([session: workflow.sessionId.toString(), finished: finished, unfinished: ids - finished]) }
        .collectFile(name: 'run.json')
    CHECK_INPUT.out.info
        .flatten()
        .mix(digests, versions, PROVENANCE.out.crate, PROVENANCE.out.workflow_file, BIAS_CORRECTION.out.page, run)
        .toSortedList { a, b -> a.name <=> b.name }
        .subscribe { files ->
            def record = files.find { path -> path.name == 'run.json' }
            if (record) {
                places << publishRun(files, outdir, new groovy.json.JsonSlurperClassic().parseText(record.text))
            }
        }

    workflow.onComplete = {
        if (workflow.preview) {
            return
        }
        def trace = records.resolve('trace.tsv')
        def tasks = trace.exists() ? trace.splitCsv(header: true, sep: '\t') : []
        def refused = refusal(tasks)
        def signal = workflow.errorMessage in ['SIGINT', 'SIGTERM', 'SIGHUP'] ? workflow.errorMessage : null
        if (tasks && !refused) {
            log.info(whatWasSpent(tasks))
        }
        if (refused) {
            words << "${refused}\nNothing was corrected, and nothing in ${params.outdir} was changed. Mend the above, then give the same command again."
        }
        else if (signal) {
            words << "Stopped (${signal}); what was published stays. The same command goes on from here with -resume"
        }
        else if (workflow.stats.ignoredCount > 0) {
            words << "${whatFailed(tasks)}\nMend what is named, then give the same command with -resume: what was finished is not done again."
        }
        else if (workflow.success) {
            def tuned = params.tune.toString() == 'true'
            def page = tuned ? 'tuning.html of each acquisition' : 'index.html leads to the report of each acquisition'
            log.info("Results: ${params.outdir} (${page})")
        }
        else if (workflow.errorMessage) {
            words << workflow.errorMessage
        }
    }
}
