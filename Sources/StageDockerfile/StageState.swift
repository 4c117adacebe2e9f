// What a stage has come to while its instructions are taken in turn: its filesystem, config, variables and history.

import StageGraph

struct StageState {
    static let defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    let index: Int
    let name: String
    var platform: Platform
    /// The image that the chain of stages starts from; nil for scratch.
    var base: String?
    /// The stage that this one is `FROM`.
    var parent: Int?
    var filesystem: StepID
    var settings = ImageSettings()
    var author: String?
    /// `ENV` and `ARG` together, as instructions and commands see them.
    var variables = Variables()
    /// `ENV` alone, as the image has it.
    var environment = Variables()
    /// Every `ARG` in order of first declaration, with the value it had then; for history.
    var arguments: [(name: String, value: String?)] = []
    var argumentPlaces: [String: Int] = [:]
    var ports: Set<String> = []
    var volumes: Set<String> = []
    /// This stage's own entries.
    var history: [HistoryEntry] = []
    /// Its own `ONBUILD` instructions, for stages that are `FROM` it.
    var triggers: [String] = []
    /// Its steps that are numbered.
    var steps: [StepID] = []
    var hasSetWorkdir = false
    /// Instructions of which only the last counts, by name: where the last one stands.
    var seenOnce: [String: SourceRange] = [:]
    /// Its base image could not be looked at: what it sets is not known.
    var isBaseUnknown = false
    /// What the stage takes from outside, for `--call=outline`.
    var inputs = StageInputs()

    /// A stage on an image or on nothing.
    init(stage: Stage, platform: Platform, filesystem: StepID, base: String?, settings: ImageSettings) {
        index = stage.index
        name = stage.title
        self.platform = platform
        self.filesystem = filesystem
        self.base = base
        self.settings = settings
        self.settings.onBuild = []
        environment = Self.environment(settings.environment, on: platform)
        variables = environment
        ports = Set(settings.exposedPorts)
        volumes = Set(settings.volumes)
        if let directory = settings.workingDirectory {
            self.settings.workingDirectory = BuildPath.workingDirectory(directory, after: "/")
        }
    }

    /// What stages on nothing start with: the same for all of them.
    private static let emptyEnvironment = Variables(entries: ["PATH=" + defaultPath])

    private static func environment(_ entries: [String], on platform: Platform) -> Variables {
        if platform.os == "windows" { return Variables(entries: entries) }
        if entries.isEmpty { return emptyEnvironment }
        var environment = Variables(entries: entries)
        if environment.value(of: "PATH") == nil { environment.set("PATH", defaultPath) }
        return environment
    }

    /// A stage on another stage.
    init(stage: Stage, parent: StageState) {
        index = stage.index
        name = stage.title
        platform = parent.platform
        base = parent.base
        self.parent = parent.index
        filesystem = parent.filesystem
        settings = parent.settings
        settings.onBuild = []
        author = parent.author
        variables = parent.variables
        environment = parent.environment
        arguments = parent.arguments
        argumentPlaces = parent.argumentPlaces
        ports = parent.ports
        volumes = parent.volumes
        hasSetWorkdir = parent.hasSetWorkdir
        // What the image has goes before an ARG of that name in the stage before, as in BuildKit.
        for entry in environment.entries {
            let name = String(entry.utf8.prefix { $0 != UInt8(ascii: "=") }) ?? entry
            if let value = environment.value(of: name) { variables.set(name, value) }
        }
        isBaseUnknown = parent.isBaseUnknown
    }

    /// The directory that relative paths start from.
    var workingDirectory: String { BuildPath.cleaned(settings.workingDirectory ?? "/") }

    /// The config with what is kept apart while the stage is built put in.
    var finishedSettings: ImageSettings {
        var finished = settings
        finished.environment = environment.entries
        finished.exposedPorts = ports.sorted()
        finished.volumes = volumes.sorted()
        return finished
    }

    mutating func record(_ text: String, step: StepID? = nil) {
        history.append(HistoryEntry(createdBy: text, step: step))
    }

    /// The shell that shell forms run in.
    func withShell(_ line: CommandLine) -> [String] { line.usesShell ? withShell(line.arguments) : line.arguments }

    func withShell(_ arguments: [String]) -> [String] {
        let shell = settings.shell ?? []
        return (shell.isEmpty ? ["/bin/sh", "-c"] : shell) + [arguments.joined(separator: " ")]
    }

    /// The names among the variables that are build arguments and no `ENV`.
    var exportedArguments: [String] {
        arguments.map(\.name).filter { environment.value(of: $0) == nil && variables.value(of: $0) != nil }
    }

    /// `|2 A=x B=y`: the arguments that a `RUN` depends on, as history has them. Ends with a blank unless empty.
    var argumentPrefix: String {
        if arguments.isEmpty { return "" }
        let values = arguments.map { "\($0.name)=\(variables.value(of: $0.name) ?? $0.value ?? "") " }
        return "|\(values.count) " + values.joined()
    }

    mutating func declare(_ name: String, value: String?) {
        if let value, !GlobalScope.unexported.contains(name) { variables.set(name, value) }
        if let place = argumentPlaces[name] {
            arguments[place].value = value
        } else {
            argumentPlaces[name] = arguments.count
            arguments.append((name, value))
        }
    }

    mutating func setEnvironment(_ name: String, _ value: String) {
        variables.set(name, value)
        environment.set(name, value)
    }
}
