// What processes ask for as job arrays, with each of some configurations: one JSON object a line and process.
//
// The request of an array is made without the inputs of its tasks. A name of an input is null then in Nextflow 25.04;
// 25.10 and later throw where nobody hears it, and the run hangs. So a request that names anything but what an array
// knows is reported here, by a Nextflow of any version.
//
//     java -cp JARS groovy.ui.GroovyMain array_requests.groovy PIPELINE PROFILES:FILE,FILE ...
import groovy.json.JsonOutput
import java.nio.file.Path
import nextflow.Session
import nextflow.cli.CliOptions
import nextflow.config.ConfigBuilder
import nextflow.processor.TaskArrayCollector
import nextflow.processor.TaskConfig
import nextflow.script.ProcessDef
import nextflow.script.ScriptMeta
import nextflow.script.parser.v1.ScriptLoaderV1

/** What a request may name: `task`, and what the script knows without inputs (`params`, `workflow`). */
class NoInputs extends HashMap<String, Object> {
    Binding script

    @Override
    Object get(Object name) {
        if (containsKey(name) || script.hasVariable(name as String)) {
            return containsKey(name) ? super.get(name) : script.getVariable(name as String)
        }
        throw new IllegalStateException("names ${name}, which an array does not know")
    }
}

def configOf(pipeline, profiles, files) {
    def options = new CliOptions(userConfig: files.tokenize(','))
    return new ConfigBuilder().setBaseDir(pipeline).setOptions(options).setProfile(profiles).build()
}

def pipeline = Path.of(args.head()).toRealPath()
def configurations = args.tail().collectEntries { it -> [it, configOf(pipeline, *it.split(':', 2))] }
def session = new Session(configurations.values().first())
session.init(null)
def processes = pipeline.resolve('modules').toFile().listFiles().sort().collectMany { module ->
    def loader = new ScriptLoaderV1(session).setModule(true).parse(module.toPath().resolve('main.nf'))
    loader.runScript()
    ScriptMeta.get(loader.script).definitions.findAll { it instanceof ProcessDef }
}
configurations.each { configuration, config ->
    session.@config = config
    processes.each { definition ->
        def process = definition.cloneWithName(definition.name)
        process.initialize()
        def directives = process.processConfig
        def asked = TaskArrayCollector.ARRAY_DIRECTIVES.findAll { name -> directives.get(name) != null }
        def array = new TaskConfig(asked.collectEntries { name -> [name, directives.get(name)] })
        array.context = new NoInputs(script: process.owner.binding)
        def requests = asked.collectEntries { name ->
            try {
                return [name, array.get(name) as String]
            }
            catch (Exception error) {
                return [name, "error: ${error.message}" as String]
            }
        }
        println JsonOutput.toJson(
            configuration: configuration,
            process: process.name,
            array: directives.get('array') ?: 0,
            queueSize: config.navigate('executor.queueSize'),
            requests: requests,
        )
    }
}
System.exit(0)
