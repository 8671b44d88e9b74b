// What only the machine of the head job sees of the files that a run reads and writes: CHECK_INPUT may run in a container.
// linumpy.plan.places judges it.

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

// Rows of a samplesheet, as they can be read before they are checked.
def rowsOf(samplesheet) {
    // A file that is empty has no header to split by, one that is not in UTF-8 no text; CHECK_INPUT says so.
    def rows = []
    try {
        rows = samplesheet.text.trim() ? samplesheet.splitCsv(header: true, strip: true, quote: '"') : []
    }
    catch (java.nio.charset.CharacterCodingException failure) {
        log.debug("${samplesheet} is not in UTF-8: ${failure.message}")
    }
    // A byte order mark sticks to the first column's name, and keeps its quotes there.
    return rows.collect { row -> row.collectEntries { column, cell -> [column.replaceAll('[\uFEFF"]', ''), cell] } }
}

// Files that the samplesheet names, as [cell: path].
def filesNamedIn(samplesheet) {
    def cells = rowsOf(samplesheet)
        .collectMany { row -> ['image', 'mask', 'sections'].collect { column -> row[column] } }
        .findAll { cell -> cell }
        .unique()
    checkLetters(cells)
    return cells.collectEntries { cell -> [cell, asFile(cell.contains('://') ? cell : samplesheet.resolveSibling(cell))] }
}

def onThisMachine(path) {
    return path.fileSystem == java.nio.file.FileSystems.default
}

// All that a path leads through, from the root, symbolic links followed one by one; the last is where it really is.
def stepsFrom(at, names, n_links) {
    if (!names) {
        return []
    }
    def next = names.first() == '..' ? (at.parent ?: at) : at.resolve(names.first())
    def rest = names.drop(1)
    if (!java.nio.file.Files.isSymbolicLink(next) || n_links > 40) {
        return [next] + stepsFrom(next, rest, n_links)
    }
    def target = java.nio.file.Files.readSymbolicLink(next)
    def there = target.collect { name -> name.toString() }.findAll { name -> name != '.' }
    return [next] + stepsFrom(target.absolute ? target.root : at, there + rest, n_links + 1)
}

// The steps of a path, as [path, what the file system knows it by (nothing where there is none)]
def steps(path) {
    if (!onThisMachine(path)) {
        return [[path.toUriString(), null]]
    }
    def absolute = path.toAbsolutePath()
    return stepsFrom(absolute.root, absolute.collect { name -> name.toString() }, 0).collect { step ->
        def known = java.nio.file.Files.exists(step) ? java.nio.file.Files.readAttributes(step, java.nio.file.attribute.BasicFileAttributes).fileKey() : null
        [step.toString(), known?.toString()]
    }
}

def namesIn(folder) {
    return folder.exists() && folder.isDirectory() ? folder.list().toList().sort() : []
}

// Whose results a folder holds, as its digests say; nothing where it holds none.
def ownerOf(folder) {
    def digests = folder.resolve('digests.tsv')
    return digests.exists() ? digests.withReader { reader -> reader.readLine() ?: '' }.tokenize('\t')[0] : null
}

def folderFacts(folder) {
    return [steps: steps(folder), exists: folder.exists(), is_file: folder.exists() && !folder.isDirectory(), names: namesIn(folder), owner: ownerOf(folder)]
}

// The file of parameters that the command line gives, where it can be told.
def parameterFiles(command_line) {
    def given = (command_line =~ /-params-file[ =](?:'([^']*)'|"([^"]*)"|(\S+))/).collect { found -> found[1] ?: found[2] ?: found[3] }
    return (given + [System.getenv('NXF_PARAMS_FILE')]).findAll { path -> path }
}

// Everything that this run reads, and every place that it writes to.
def surroundings(samplesheet, named, outdir, run) {
    def mounts = asFile('/proc/self/mountinfo')
    def acquisitions = rowsOf(samplesheet)
        .collect { row -> row.acquisition }
        .findAll { name -> name ==~ /[A-Za-z0-9_][A-Za-z0-9._-]*/ }
        .unique()
    def parameters = parameterFiles(run.commandLine).collectEntries { path -> ["parameter file ${path}".toString(), asFile(path)] }
    def configurations = run.configFiles.collectEntries { path -> ["configuration ${path}".toString(), path] }
    return [
        mounts: mounts.exists() ? mounts.text : '',
        inputs: named.collectEntries { cell, path -> [cell, steps(path)] },
        others: ([('samplesheet ' + samplesheet.name): samplesheet] + parameters + configurations)
            .collectEntries { what, path -> [what, steps(path)] },
        kept: [
            'the work directory': steps(run.workDir),
            'the launch folder': steps(run.launchDir),
            'the pipeline': steps(run.projectDir),
        ],
        work: [
            'the work directory': steps(run.workDir),
            "Nextflow's own folder": steps(run.launchDir.resolve('.nextflow')),
        ],
        outdir: outdir.toUriString(),
        names: namesIn(outdir),
        files: ['index.html', 'ro-crate-metadata.json', 'pipeline_info', 'pipeline_info.unfinished']
            .collectEntries { name -> [name, folderFacts(outdir.resolve(name))] },
        acquisitions: acquisitions.collectEntries { name -> [name, folderFacts(outdir.resolve(name))] },
    ]
}
