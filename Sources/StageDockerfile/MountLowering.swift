// `RUN --mount`: values with their variables put in, and where what is mounted comes from.

import StageGraph

extension Mount {
    /// What `from` names, for looking stages and images up.
    var from: Word? {
        guard kind == .bind || kind == .cache else { return nil }
        return options["from"].flatMap { $0.isEmpty ? nil : Word($0, at: range) }
    }
}

extension Mount {
    /// A warning for each option that docker takes, and that asks for something nobody gets.
    fileprivate var idleOptions: [DockerfileWarning] {
        let idle: [String]
        switch kind {
        case .tmpfs: idle = ["from", "source", "id"]
        case .bind: idle = ["id"]
        case .ssh: idle = ["from"]
        case .cache, .secret: idle = []
        }
        var texts = idle.filter { options[$0] ?? "" != "" }.map {
            "key `\($0)` says nothing to a mount of type `\(kind.rawValue)`"
        }
        if kind == .secret || kind == .ssh, options["readonly"] == "false" {
            texts.append("a mount of type `\(kind.rawValue)` is always read-only")
        }
        // BuildKit's own modes end there: it makes a cache's directory, a secret's file and an agent's socket with mode & 0777.
        if let mode = options["mode"].flatMap({ UInt32($0, radix: 8) }), mode > 0o777 {
            texts.append("mode `\(options["mode"] ?? "")`: set-id and sticky bits are left out, as docker does")
        }
        return texts.map { DockerfileWarning(rule: "", $0, at: range) }
    }
}

extension Command {
    /// Everything that `--from` and `--mount from=` of this instruction name.
    var sourceNames: [Word] {
        switch self {
        case .copy(let copy): copy.from.map { [$0] } ?? []
        case .run(let run): run.mounts.compactMap(\.from)
        default: []
        }
    }
}

extension StageLowering {
    /// - Parameter inputs: the step's; what is bound is added to it.
    mutating func mounts(
        _ mounts: [Mount], _ inputs: inout [StepID], _ instruction: ParsedInstruction
    ) throws(DockerfileError) -> [RunMount] {
        var result: [RunMount] = []
        var agents = 0
        for written in mounts {
            // Not a closure: expansion counts what it spends.
            var values: [String: String] = [:]
            for text in written.openValues { values[text] = try expand(text, at: written.range).value }
            let mount = try written.expanded { values[$0] ?? $0 }
            try checkFrom(mount)
            warnings += mount.idleOptions
            switch mount.kind {
            case .secret: result.append(try secret(mount))
            case .ssh:
                result.append(try agent(mount, number: agents))
                agents += 1
            case .bind, .cache, .tmpfs:
                let target = BuildPath.cleaned(mount.options["target"] ?? "", in: state.workingDirectory)
                guard target != "/" else {
                    throw DockerfileError(
                        "invalid mount target `/`", at: mount.range, hint: "mount it at a directory of its own")
                }
                result.append(RunMount(kind: try kind(mount, target, &inputs, instruction), target: target))
            }
        }
        // What lies inside another mount comes after it, as in runc.
        return result.enumerated().sorted {
            (depth($0.element.target), $0.offset) < (depth($1.element.target), $1.offset)
        }.map(\.element)
    }

    /// `COPY --from` takes a stage's number; a mount takes names alone.
    private func checkFrom(_ mount: Mount) throws(DockerfileError) {
        guard let from = mount.from else { return }
        let name = try Self.sourceName(from, scope, state.variables)
        guard let number = Int(name) else { return }
        let named = layout.stages.indices.contains(number) ? layout.stages[number].name : nil
        throw DockerfileError(
            "invalid mount source `\(name)`: a mount takes a stage's name, not its number", at: mount.range,
            hint: named.map { "write from=\($0)" } ?? "give the stage a name: FROM ... AS NAME")
    }

    private func depth(_ path: String) -> Int { path.utf8.count { $0 == UInt8(ascii: "/") } }

    private mutating func kind(
        _ mount: Mount, _ target: String, _ inputs: inout [StepID], _ instruction: ParsedInstruction
    ) throws(DockerfileError) -> RunMount.Kind {
        switch mount.kind {
        case .cache: return .cache(try cache(mount, target, &inputs, instruction))
        case .bind:
            let source = BuildPath.cleaned(mount.options["source"] ?? "/")
            try takes(BuildPath.source(source), from: mount.from)
            inputs.append(try origin(mount.from, instruction))
            return .bind(
                RunMount.Bind(input: inputs.count - 1, source: source, isWritable: mount.options["readonly"] == "false")
            )
        case .tmpfs, .secret, .ssh:
            return .tmpfs(
                size: try mount.options["size"].map { text throws(DockerfileError) in
                    try size(text, mount.range)
                }.flatMap { $0 == 0 ? nil : $0 })
        }
    }

    // MARK: Secrets and agents

    private func secret(_ mount: Mount) throws(DockerfileError) -> RunMount {
        let options = mount.options
        func given(_ key: String) -> String? { options[key].flatMap { $0.isEmpty ? nil : $0 } }
        let target = given("target")
        let id = given("source") ?? given("id") ?? lastName(target ?? "")
        var place = target.map { BuildPath.cleaned($0, in: state.workingDirectory) } ?? ""
        if options["env"] == nil, target == nil { place = BuildPath.cleaned("/run/secrets/" + lastName(id)) }
        if let name = options["env"], name.isEmpty || name.utf8.contains(UInt8(ascii: "=")) {
            throw DockerfileError("`\(name)` is no name of a variable", at: mount.range, hint: "write env=NAME")
        }
        guard !id.isEmpty, place != "/", options["env"] != nil || place != "/run/secrets" else {
            throw DockerfileError("a secret mount needs an id", at: mount.range, hint: "add id=NAME")
        }
        let secret = RunMount.Secret(
            id: id, isRequired: options["required"] == "true", environmentName: options["env"],
            mode: try number(options["mode"], radix: 8, "mode", mount.range) ?? 0o400,
            uid: try number(options["uid"], radix: 10, "uid", mount.range) ?? 0,
            gid: try number(options["gid"], radix: 10, "gid", mount.range) ?? 0)
        return RunMount(kind: .secret(secret), target: place)
    }

    /// - Parameter number: how many agents the instruction had before.
    private func agent(_ mount: Mount, number count: Int) throws(DockerfileError) -> RunMount {
        let options = mount.options
        let id = options["id"].flatMap { $0.isEmpty ? nil : $0 } ?? "default"
        let target = options["target"].flatMap { $0.isEmpty ? nil : $0 } ?? "/run/buildkit/ssh_agent.\(count)"
        let agent = RunMount.Agent(
            id: id, isRequired: options["required"] == "true",
            mode: try number(options["mode"], radix: 8, "mode", mount.range) ?? 0o600,
            uid: try number(options["uid"], radix: 10, "uid", mount.range) ?? 0,
            gid: try number(options["gid"], radix: 10, "gid", mount.range) ?? 0)
        let place = BuildPath.cleaned(target, in: state.workingDirectory)
        guard place != "/" else {
            throw DockerfileError("invalid mount target `/`", at: mount.range, hint: "give the socket a path")
        }
        return RunMount(kind: .agent(agent), target: place)
    }

    private func lastName(_ path: String) -> String {
        path.split(separator: "/").last.map(String.init) ?? ""
    }

    // MARK: Caches

    private mutating func cache(
        _ mount: Mount, _ target: String, _ inputs: inout [StepID], _ instruction: ParsedInstruction
    ) throws(DockerfileError) -> RunMount.Cache {
        let options = mount.options
        let source = BuildPath.cleaned(options["source"] ?? "/")
        let hasAttributes = ["mode", "uid", "gid"].contains { options[$0] != nil }
        var base: RunMount.Bind?
        if mount.from != nil {
            // With attributes BuildKit shows an empty directory of those, and nothing of `from`.
            if source != "/" || !hasAttributes {
                inputs.append(try origin(mount.from, instruction))
                try takes(BuildPath.source(source), from: mount.from)
                base = RunMount.Bind(input: inputs.count - 1, source: source)
            }
        } else if source != "/" {
            throw DockerfileError(
                "a cache without from has nothing at `\(source)`", at: mount.range,
                hint: "add from=STAGE, or leave out source=")
        }
        let id = options["id"] ?? ""
        let space = scope.options.buildArguments["BUILDKIT_CACHE_MOUNT_NS"] ?? ""
        return RunMount.Cache(
            id: (space.isEmpty ? "" : space + "/") + (id.isEmpty ? target : id),
            sharing: options["sharing"].flatMap { RunMount.Cache.Sharing(rawValue: $0.lowercased()) } ?? .shared,
            // See `idleOptions`.
            mode: try number(options["mode"], radix: 8, "mode", mount.range).map { $0 & 0o777 } ?? 0o755,
            uid: try number(options["uid"], radix: 10, "uid", mount.range) ?? 0,
            gid: try number(options["gid"], radix: 10, "gid", mount.range) ?? 0,
            isReadOnly: options["readonly"] == "true", base: base)
    }

    private func number(
        _ text: String?, radix: Int, _ key: String, _ range: SourceRange
    ) throws(DockerfileError) -> UInt32? {
        guard let text else { return nil }
        guard let value = UInt32(text, radix: radix), radix == 10 || value <= 0o7777 else {
            throw DockerfileError("invalid value `\(text)` for \(key)", at: range)
        }
        return value
    }

    private func size(_ text: String, _ range: SourceRange) throws(DockerfileError) -> UInt64 {
        guard let value = MemorySize.bytes(text) else {
            throw DockerfileError("invalid value `\(text)` for size", at: range, hint: "write 512m or 1g")
        }
        return value
    }
}
