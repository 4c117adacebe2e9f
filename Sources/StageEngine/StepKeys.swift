// How the key of each kind of step is made. Specs/cache-key.md lists the fields; changing one, or what
// a step of some fields leaves, changes the format line.

import StageGraph
import StageHash
import StageStore

extension KeyEncoder {
    /// The walk over `operation` with the identities of its inputs.
    ///
    /// - Parameters:
    ///   - selection: for `copy`: what its sources are.
    ///   - mounted: for `run`: what its binds show, by the number of the mount.
    init(
        _ operation: Operation, inputs: [TreeRef], selection: CopySelection?, mounted: [Int: Entry] = [:],
        platform: Platform
    ) {
        self.init(format: "stagerun step 2")
        switch operation {
        case .own(let own):
            field("operation", "own")
            field("kind", own.kind)
            field("fields", Int64(own.fields.count))
            for value in own.fields { field(value) }
            for input in inputs { field("input", input.identity) }
            return
        case .scratch, .image, .context, .remote:
            // Sources have no key: their tree is their identity.
            field("operation", "source")
        case .makeDirectory(let make):
            field("operation", "make directory")
            field("path", make.path)
            if let time = make.time { field("time", "\(time)") }
            field("owner", owner: make.owner)
        case .merge(let time):
            field("operation", "merge")
            if let time { field("time", "\(time)") }
            if inputs.count == 2 { field("merged", inputs[1].identity) }
        case .copy(let copy):
            field("operation", copy.unpacksArchives ? "add" : "copy")
            field("destination", copy.destination)
            field("owner", owner: copy.chown)
            field("mode", copy.chmod ?? "")
            if let time = copy.time { field("time", "\(time)") }
            for source in selection?.sources ?? [] {
                field("source name", bytes: source.name?.bytes ?? [])
                field("source is directory", source.isDirectory)
                if let unpacks = source.unpacks { field("source is unpacked", unpacks) }
                field("source content", source.identity)
                if !source.passages.isEmpty {
                    let passages = source.passages.sorted { $0.lexicographicallyPrecedes($1) }
                    field("source passages", Int64(passages.count))
                    for path in passages { field("source passage", bytes: path) }
                }
            }
        case .run(let run):
            field("operation", "run")
            field("arguments", run.arguments)
            field("environment", run.environment)
            field("working directory", run.workingDirectory)
            field("user", run.user)
            field("network", run.network.rawValue)
            fields(optional: run)
            for (index, mount) in run.mounts.enumerated() { field(mount, mounted[index]) }
            if let script = run.script {
                field("script", script.path)
                field("script text", script.text)
            }
            field("platform", platform.description)
        }
        if let root = inputs.first { field("input", root.identity) }
    }

    /// What few commands have: a field only where it says something.
    private mutating func fields(optional run: Run) {
        if run.isPrivileged { field("security", "insecure") }
        if !run.extraHosts.isEmpty { field("extra hosts", run.extraHosts.map(\.name)) }
        if let size = run.sharedMemory { field("shared memory", "\(size)") }
        if !run.limits.isEmpty {
            field("limits", run.limits.map { "\($0.resource.rawValue)=\($0.soft):\($0.hard)" })
        }
        if let hostname = run.hostname { field("hostname", hostname) }
    }

    private mutating func field(_ field: OwnOperation.Field) {
        switch field.value {
        case .string(let value): self.field(field.name, value)
        case .integer(let value): self.field(field.name, value)
        case .boolean(let value): self.field(field.name, value)
        case .digest(let value): self.field(field.name, value)
        case .list(let values): self.field(field.name, values)
        case .bytes(let value): self.field(field.name, bytes: value)
        }
    }

    /// What a cache holds, what it is called and who may use it at once is not what the outcome depends on.
    private mutating func field(_ mount: RunMount, _ entry: Entry?) {
        field("mount target", mount.target)
        switch mount.kind {
        case .bind(let bind): field("mount", bind.isWritable ? "bind writable" : "bind")
        case .tmpfs(let size): field("mount", "tmpfs \(size.map(String.init) ?? "")")
        case .cache(let cache):
            let mode = String(cache.mode, radix: 8)
            field("mount", "cache \(mode) \(cache.uid):\(cache.gid)\(cache.isReadOnly ? " read-only" : "")")
        case .secret(let secret):
            // Where it is and what it is called; never what it is, nor whether it is there.
            let mode = String(secret.mode, radix: 8)
            field("mount", "secret \(mode) \(secret.uid):\(secret.gid)\(secret.isRequired ? " required" : "")")
            field("secret", [secret.id] + (secret.environmentName.map { [$0] } ?? []))
        case .agent(let agent):
            let mode = String(agent.mode, radix: 8)
            field("mount", "agent \(mode) \(agent.uid):\(agent.gid)\(agent.isRequired ? " required" : "")")
            field("agent", agent.id)
        }
        if let entry { field("mount content", entry.identity) }
    }

    private mutating func field(_ name: String, owner: Owner?) {
        field(name, owner.map { [$0.user] + ($0.group.map { [$0] } ?? []) } ?? [])
    }
}
