// Results into the folder for them. What is published appears whole or not at all: it is gathered beside its place, under
// a hidden name, and then takes that place at once.

// Regular files of a folder, as [name in it: path].
def filesIn(folder) {
    def walked = java.nio.file.Files.walk(folder, java.nio.file.FileVisitOption.FOLLOW_LINKS)
    def files = walked.toList().findAll { path -> java.nio.file.Files.isRegularFile(path) }
    walked.close()
    return files.collectEntries { path -> [folder.relativize(path).toString(), path] }
}

// Without following links: what a link leads to is no part of a result.
def remove(path) {
    if (java.nio.file.Files.exists(path, java.nio.file.LinkOption.NOFOLLOW_LINKS)) {
        def walked = java.nio.file.Files.walk(path)
        def found = walked.toList()
        walked.close()
        found.reverse().each { one -> java.nio.file.Files.delete(one) }
    }
}

// Is a file the same, as far as links, size and time tell?
def isPublished(source, target, mode) {
    if (mode != 'auto' && java.nio.file.Files.isSameFile(source, target) != (mode == 'link')) {
        return false
    }
    def described = [source, target].collect { path -> [java.nio.file.Files.size(path), java.nio.file.Files.getLastModifiedTime(path)] }
    return described[0] == described[1]
}

// Mode 'auto' links, and copies what cannot be linked (another file system, a bind mount, a limit). Returns why it copied.
def bring(source, target, mode) {
    def why = null
    java.nio.file.Files.createDirectories(target.parent)
    if (mode != 'copy') {
        try {
            java.nio.file.Files.createLink(target, source.toRealPath())
            return null
        }
        catch (Exception error) {
            if (mode == 'link') {
                throw error
            }
            why = error.message ?: error.toString()
        }
    }
    java.nio.file.Files.copy(source, target, java.nio.file.StandardCopyOption.COPY_ATTRIBUTES, java.nio.file.StandardCopyOption.REPLACE_EXISTING)
    return why
}

// The same, but an exception is returned.
def tryToBring(source, target, mode) {
    try {
        return bring(source, target, mode)
    }
    catch (Exception problem) {
        return problem
    }
}

// Files ([name: path]) become the folder of that name in outdir; what is there gives way. Nothing is done where they are there.
def putFolder(files, outdir, name, mode) {
    def place = outdir.resolve(name)
    def found = java.nio.file.Files.isDirectory(place) ? filesIn(place) : [:]
    if (found && found.keySet() == files.keySet() && files.every { part, path -> isPublished(path, found[part], mode) }) {
        return place
    }
    // A store of objects renames nothing.
    def renames = outdir.fileSystem == java.nio.file.FileSystems.default
    def partial = renames ? outdir.resolve(".${name}.partial") : place
    def before = outdir.resolve(".${name}.before")
    try {
        remove(partial)
        // All end before one that failed is told: none writes into a folder that is removed.
        def brought = files.entrySet().parallelStream().map { entry -> tryToBring(entry.value, partial.resolve(entry.key), mode) }.toList()
        def failed = brought.find { result -> result instanceof Exception }
        if (failed) {
            throw failed
        }
        def copied = brought.findAll { why -> why }
        if (copied) {
            log.info("${name}: ${copied.size()} of ${files.size()} files are copied to ${outdir}, hard links do not work there (${copied[0]})")
        }
        if (renames) {
            remove(before)
            if (java.nio.file.Files.exists(place, java.nio.file.LinkOption.NOFOLLOW_LINKS)) {
                java.nio.file.Files.move(place, before)
            }
            java.nio.file.Files.move(partial, place)
            remove(before)
        }
    }
    catch (Exception problem) {
        if (renames && before.exists() && !place.exists()) {
            java.nio.file.Files.move(before, place)
        }
        remove(partial)
        error("${name} could not be put into ${outdir} (${problem.message}). Make room there or mend the folder, then give the same command with -resume.")
    }
    return place
}

// The same for a single file.
def putFile(source, outdir) {
    def partial = outdir.resolve(".${source.name}.partial")
    remove(partial)
    bring(source, partial, 'copy')
    java.nio.file.Files.move(partial, outdir.resolve(source.name), java.nio.file.StandardCopyOption.REPLACE_EXISTING)
}

// What the tasks of an acquisition left under results/ID, together. Returns its name and files.
def publishAcquisition(id, folders, outdir, mode) {
    def files = folders.collectEntries { folder -> filesIn(folder) }
    putFolder(files, outdir, id, mode)
    return [id, files]
}

// The description of a run, all of it. A run that did not finish leaves an earlier run's description as it is, and puts its own
// beside it; a resumed run is the same run.
def publishRun(files, outdir, run) {
    def place = outdir.resolve('pipeline_info')
    def earlier = place.resolve('run.json')
    def own = !place.exists() || (earlier.exists() && new groovy.json.JsonSlurperClassic().parseText(earlier.text).session == run.session)
    def whole = !run.unfinished
    def name = whole || own ? 'pipeline_info' : 'pipeline_info.unfinished'
    def (pages, info) = files.split { path -> path.name in ['index.html', 'ro-crate-metadata.json'] }
    putFolder(info.collectEntries { path -> [path.name, path] }, outdir, name, 'copy')
    pages.findAll { page -> page.name == 'index.html' || name == 'pipeline_info' }.each { page -> putFile(page, outdir) }
    if (name == 'pipeline_info') {
        remove(outdir.resolve('pipeline_info.unfinished'))
    }
    return outdir.resolve(name)
}
