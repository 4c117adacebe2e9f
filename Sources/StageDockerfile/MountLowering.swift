// `RUN --mount`: values with their variables put in, and where what is mounted comes from.

import StageGraph

extension Mount {
    /// What `from` names, for looking stages and images up.
    var from: Word? { options["from"].map { Word($0, at: range) } }
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
        for mount in mounts {
            var options: [String: String] = [:]
            for (key, text) in mount.options where key != "from" {
                options[key] = try expand(text, at: mount.range).value
            }
            let target = BuildPath.cleaned(options["target"] ?? "", in: state.workingDirectory)
            let needsTarget = mount.kind != .secret && mount.kind != .ssh
            guard target != "/" || !needsTarget else {
                throw DockerfileError(
                    "invalid mount target `/`", at: mount.range, hint: "mount it at a directory of its own")
            }
            result.append(RunMount(kind: try kind(mount, options, target, &inputs, instruction), target: target))
        }
        // What lies inside another mount comes after it, as in runc.
        return result.enumerated().sorted {
            (depth($0.element.target), $0.offset) < (depth($1.element.target), $1.offset)
        }.map(\.element)
    }

    private func depth(_ path: String) -> Int { path.utf8.count { $0 == UInt8(ascii: "/") } }

    private mutating func kind(
        _ mount: Mount, _ options: [String: String], _ target: String, _ inputs: inout [StepID],
        _ instruction: ParsedInstruction
    ) throws(DockerfileError) -> RunMount.Kind {
        switch mount.kind {
        case .tmpfs:
            return .tmpfs(
                size: try options["size"].map { text throws(DockerfileError) in
                    try size(text, mount.range)
                })
        case .cache: return .cache(try cache(mount, options, target))
        case .bind:
            if try isWritable(options, mount.range) {
                throw refusal("RUN --mount=type=bind,rw", mount.range, "copy what the command changes to another place")
            }
            let source = BuildPath.cleaned(options["source"] ?? "/")
            if mount.from == nil { graph.takes(BuildPath.source(source), fromContext: "") }
            inputs.append(try origin(mount.from, instruction))
            return .bind(input: inputs.count - 1, source: source)
        case .secret, .ssh:
            throw refusal(
                "RUN --mount=type=\(mount.kind.rawValue)", mount.range,
                "COPY what the command needs in a stage that is not the last")
        }
    }

    private func refusal(_ what: String, _ range: SourceRange, _ hint: String) -> DockerfileError {
        DockerfileError("\(what) is not supported by this version", at: range, hint: hint)
    }

    private mutating func cache(
        _ mount: Mount, _ options: [String: String], _ target: String
    ) throws(DockerfileError) -> RunMount.Cache {
        if mount.from != nil || options["source"] != nil {
            throw refusal("RUN --mount=type=cache with from or source", mount.range, "fill the cache in the command")
        }
        let sharing = options["sharing"] ?? "shared"
        guard let sharing = RunMount.Cache.Sharing(rawValue: sharing.lowercased()) else {
            throw DockerfileError(
                "unsupported sharing value `\(sharing)`", at: mount.range, hint: "it is shared, private or locked")
        }
        if sharing == .private {
            throw refusal("sharing=private", mount.range, "sharing=locked lets one command at a time use the cache")
        }
        let id = options["id"] ?? ""
        return RunMount.Cache(
            id: id.isEmpty ? target : id, sharing: sharing,
            mode: try number(options["mode"], radix: 8, "mode", mount.range) ?? 0o755,
            uid: try number(options["uid"], radix: 10, "uid", mount.range) ?? 0,
            gid: try number(options["gid"], radix: 10, "gid", mount.range) ?? 0,
            isReadOnly: try !isWritable(options, mount.range, standard: true))
    }

    private func isWritable(
        _ options: [String: String], _ range: SourceRange, standard: Bool = false
    ) throws(DockerfileError) -> Bool {
        if let text = options["readwrite"] { return try flag(text, "readwrite", range) }
        if let text = options["readonly"] { return try !flag(text, "readonly", range) }
        return standard
    }

    private func flag(_ text: String, _ key: String, _ range: SourceRange) throws(DockerfileError) -> Bool {
        guard let value = FlagValue.boolean(text) else {
            throw DockerfileError("key `\(key)` in --mount is true or false, not `\(text)`", at: range)
        }
        return value
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
        let digits = text.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
        let unit = text.dropFirst(digits.count).lowercased().filter { $0 != " " }
        let shift = unit.first.flatMap { ["b": 0, "k": 10, "m": 20, "g": 30, "t": 40][String($0)] } ?? 0
        guard let value = Double(digits), Mount.isSize(text), value * Double(1 << shift) < Double(Int64.max) else {
            throw DockerfileError("invalid value `\(text)` for size", at: range, hint: "write 512m or 1g")
        }
        return UInt64(value * Double(1 << shift))
    }
}
