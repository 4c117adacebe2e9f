// How the key of each kind of step is made. Specs/cache-key.md lists the fields; changing one changes the format line.

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
        self.init(format: "stagerun step 1")
        switch operation {
        case .scratch, .image, .context:
            // Sources have no key: their tree is their identity.
            field("operation", "source")
        case .makeDirectory(let make):
            field("operation", "make directory")
            field("path", make.path)
            field("owner", owner: make.owner)
        case .copy(let copy):
            field("operation", copy.unpacksArchives ? "add" : "copy")
            field("destination", copy.destination)
            field("owner", owner: copy.chown)
            field("mode", copy.chmod ?? "")
            for source in selection?.sources ?? [] {
                field("source name", bytes: source.name?.bytes ?? [])
                field("source is directory", source.isDirectory)
                field("source content", source.identity)
            }
        case .run(let run):
            field("operation", "run")
            field("arguments", run.arguments)
            field("environment", run.environment)
            field("working directory", run.workingDirectory)
            field("user", run.user)
            field("network", run.network.rawValue)
            for (index, mount) in run.mounts.enumerated() { field(mount, mounted[index]) }
            if let script = run.script {
                field("script", script.path)
                field("script text", script.text)
            }
            field("platform", platform.description)
        }
        if let root = inputs.first { field("input", root.identity) }
    }

    /// What a cache holds, what it is called and who may use it at once is not what the outcome depends on.
    private mutating func field(_ mount: RunMount, _ entry: Entry?) {
        field("mount target", mount.target)
        switch mount.kind {
        case .bind: field("mount", "bind")
        case .tmpfs(let size): field("mount", "tmpfs \(size.map(String.init) ?? "")")
        case .cache(let cache):
            let mode = String(cache.mode, radix: 8)
            field("mount", "cache \(mode) \(cache.uid):\(cache.gid)\(cache.isReadOnly ? " read-only" : "")")
        }
        if let entry { field("mount content", entry.identity) }
    }

    private mutating func field(_ name: String, owner: Owner?) {
        field(name, owner.map { [$0.user] + ($0.group.map { [$0] } ?? []) } ?? [])
    }
}
