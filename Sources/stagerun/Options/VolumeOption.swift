// `-v`: a host directory or file inside the command's filesystem.

/// One `--volume HOST:PATH[:ro]`.
struct VolumeOption: Hashable, Sendable {
    /// On the host; made absolute by the command.
    var source: String
    /// Absolute, in the container.
    var target: String
    var isReadOnly: Bool

    init(source: String, target: String, isReadOnly: Bool = false) {
        self.source = source
        self.target = target
        self.isReadOnly = isReadOnly
    }

    /// `HOST:PATH`, `HOST:PATH:ro` or `HOST:PATH:rw`. HOST is a path: absolute, or starting with `.` or `~`.
    init(parsing text: String) throws(UsageError) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2 || parts.count == 3 else {
            throw UsageError("-v \(text): write HOST:PATH or HOST:PATH:ro (anonymous volumes are not supported)")
        }
        guard let first = parts[0].first, "/.~".contains(first) else {
            throw UsageError(
                "-v \(text): \"\(parts[0])\" is not a path; named volumes are not supported, write /\(parts[0]) "
                    + "or ./\(parts[0])")
        }
        guard parts[1].hasPrefix("/") else {
            throw UsageError("-v \(text): \"\(parts[1])\" must be an absolute path in the container")
        }
        var isReadOnly = false
        for option in parts.count == 3 ? parts[2].split(separator: ",") : [] {
            switch option {
            case "ro": isReadOnly = true
            case "rw": isReadOnly = false
            case "z", "Z": continue  // SELinux relabelling: there is nothing to relabel here.
            default: throw UsageError("-v \(text): \"\(option)\" is not known; ro and rw are")
            }
        }
        self.init(source: parts[0], target: parts[1], isReadOnly: isReadOnly)
    }
}
