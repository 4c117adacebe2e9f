// Dockerfiles, instructions and graphs as text, for golden comparisons.

import StageGraph

@testable import StageDockerfile

extension Instruction {
    /// `run [--flag] "arg" "arg" json L1-2 <<EOF:"content"`
    var golden: String {
        var parts = [name]
        parts += flags.map { "[\($0.text)]" }
        parts += arguments.map { GoText.quoted($0.text) }
        if isJSON { parts.append("json") }
        parts.append("L\(range.firstLine)" + (range.lastLine > range.firstLine ? "-\(range.lastLine)" : ""))
        parts += heredocs.map {
            "\($0.descriptor == 0 ? "" : String($0.descriptor))<<\($0.chomps ? "-" : "")\($0.name)"
                + "\($0.expands ? "" : "!"):\(GoText.quoted($0.content))"
        }
        parts += trigger.map { "{\($0.golden)}" }
        return parts.joined(separator: " ")
    }
}

extension BuildGraph {
    /// One line for each step, then the image.
    var golden: String {
        var lines = steps.map(\.golden)
        lines.append("target \(target) base \(base ?? "scratch") \(platform)")
        lines.append("env \(config.environment)")
        func add(_ name: String, _ value: String?) { if let value { lines.append("\(name) \(value)") } }
        add("workdir", config.workingDirectory)
        add("user", config.user)
        add("entrypoint", config.entrypoint.map { "\($0)" })
        add("cmd", config.command.map { "\($0)" })
        add("labels", config.labels.isEmpty ? nil : "\(config.labels.sorted { $0.key < $1.key }.map { "\($0)=\($1)" })")
        lines += history.map { "history \($0.step.map(\.description) ?? "-") \($0.createdBy)" }
        lines += skippedStages.map { "skipped \($0.name) (\($0.instructions))" }
        lines += contextPatterns.sorted { $0.key < $1.key }.map { "context '\($0.key)' \($0.value)" }
        return lines.joined(separator: "\n")
    }
}

extension Step {
    var golden: String {
        let inputs = inputs.map(\.description).joined(separator: ",")
        let place = number > 0 ? "[\(stage) \(number)/\(total)] " : ""
        return "\(id)\(inputs.isEmpty ? "" : "(\(inputs))") \(place)\(title) => \(operation.golden)"
    }
}

extension StageGraph.Operation {
    var golden: String {
        switch self {
        case .own(let own): return "own \(own.kind)"
        case .scratch: return "scratch"
        case .image(let name): return "image \(name)"
        case .context(let name): return "context '\(name)'"
        case .remote(.web(let file)):
            return "web \(file.url) as \(file.name)\(file.checksum.map { " " + $0 } ?? "")"
        case .remote(.git(let source)): return "git \(source.golden)"
        case .merge(let time): return "merge" + (time.map { " at \($0)" } ?? "")
        case .makeDirectory(let made): return "mkdir \(made.path)\(made.owner.map { " owner \($0.golden)" } ?? "")"
        case .copy(let copy):
            let sources = copy.sources.map {
                switch $0 {
                case .path(let input, let pattern): "\(input):\(pattern)"
                case .parents(let input, let pivot, let pattern): "\(input):\(pivot)/./\(pattern)"
                case .fetched(let input, let unpacks): "fetched \(input)\(unpacks ? " unpack" : "")"
                case .text(let name, let content): "text \(name) \(GoText.quoted(content))"
                }
            }
            return "copy \(sources.joined(separator: " ")) -> \(copy.destination)"
                + (copy.chown.map { " chown \($0.golden)" } ?? "") + (copy.chmod.map { " chmod \($0)" } ?? "")
                + (copy.resetsOwner ? " reset" : "") + (copy.unpacksArchives ? " unpack" : "")
                + (copy.excludes.isEmpty ? "" : " exclude \(copy.excludes)") + (copy.time.map { " at \($0)" } ?? "")
        case .run(let run):
            return "run \(run.arguments) env \(run.environment) in \(run.workingDirectory)"
                + (run.user.isEmpty ? "" : " as \(run.user)") + (run.network == .none ? " offline" : "")
                + (run.hiddenEnvironment.isEmpty ? "" : " hidden \(run.hiddenEnvironment)")
                + run.mounts.map { " mount \($0.golden)" }.joined()
                + (run.isPrivileged ? " privileged" : "")
        }
    }
}

extension GitSource {
    var golden: String {
        "\(remote) ref '\(reference)' dir '\(directory)'" + (commit.map { " commit \($0)" } ?? "")
            + (keepsGitDirectory == true ? " keep" : "") + (takesSubmodules ? "" : " no submodules")
    }
}

extension RunMount {
    var golden: String {
        func attributes(_ mode: UInt32, _ uid: UInt32, _ gid: UInt32) -> String {
            "\(String(mode, radix: 8)) \(uid):\(gid)"
        }
        switch kind {
        case .bind(let bind): return "\(target) bind \(bind.golden)"
        case .tmpfs(let size): return "\(target) tmpfs \(size.map(String.init) ?? "-")"
        case .cache(let cache):
            return "\(target) cache \(cache.id) \(cache.sharing) \(attributes(cache.mode, cache.uid, cache.gid))"
                + (cache.isReadOnly ? " ro" : "") + (cache.base.map { " from \($0.golden)" } ?? "")
        case .secret(let secret):
            return "\(target) secret \(secret.id) \(attributes(secret.mode, secret.uid, secret.gid))"
                + (secret.isRequired ? " required" : "") + (secret.environmentName.map { " env \($0)" } ?? "")
        case .agent(let agent):
            return "\(target) agent \(agent.id) \(attributes(agent.mode, agent.uid, agent.gid))"
                + (agent.isRequired ? " required" : "")
        }
    }
}

extension RunMount.Bind {
    var golden: String { "\(input):\(source)\(isWritable ? " rw" : "")" }
}

extension Owner {
    var golden: String { user + (group.map { ":" + $0 } ?? "") }
}

/// Lowers with images that are made up as they are asked for.
struct Bench {
    var options = LoweringOptions(
        platform: Platform(os: "linux", architecture: "amd64"),
        buildPlatform: Platform(os: "linux", architecture: "amd64"))
    /// Settings of images by name; others are empty.
    var images: [String: ImageSettings] = [:]

    struct Outcome {
        var graph: BuildGraph
        var warnings: [DockerfileWarning]
        /// The keys that each round asked for.
        var rounds: [[String]]
    }

    func lower(_ text: String) throws -> Outcome {
        let dockerfile = try Dockerfile.parse(text)
        let lowering = Lowering(dockerfile, options: options)
        var known: [String: BaseImage] = [:]
        var rounds: [[String]] = []
        while true {
            switch try lowering.lower(images: known) {
            case .needs(let requests):
                rounds.append(requests.map(\.key))
                // A round must ask for something new, or it would never end.
                guard requests.contains(where: { known[$0.key] == nil }) else { throw Stuck(rounds: rounds) }
                for request in requests {
                    known[request.key] = BaseImage(
                        settings: images[request.name] ?? ImageSettings(), platform: request.platform)
                }
            case .graph(let graph, let warnings): return Outcome(graph: graph, warnings: warnings, rounds: rounds)
            }
        }
    }

    struct Stuck: Error { var rounds: [[String]] }

    func graph(_ text: String) throws -> BuildGraph { try lower(text).graph }

    /// The error that a Dockerfile gives, as it is shown.
    func rendered(_ text: String) -> String {
        do {
            _ = try lower(text)
            return "no error"
        } catch let error as DockerfileError {
            return error.rendered(source: text)
        } catch { return "\(error)" }
    }
}
