// Why a path is not in a context. A scan is as narrow as the build allows, so only the disk can tell what lies beside it.

import Glibc
import StageSystem

/// What the disk says about a path that a build did not find in its context.
public enum AbsentPath: Hashable, Sendable {
    /// Line `line` of the ignore file `file` leaves it out.
    case ignored(file: String, line: Int)
    /// `directory` has no entry `name`, but these, without what is ignored.
    case missing(name: FileName, directory: TreePath, names: [FileName])

    /// Nil when the path is there and not ignored, and when that cannot be said without following a symlink.
    public init?(_ path: TreePath, context: String, rules: IgnoreRules) {
        do throws(SystemError) {
            guard let found = try Self.look(path, context, rules) else { return nil }
            self = found
        } catch { return nil }
    }

    private static func look(
        _ path: TreePath, _ context: String, _ rules: IgnoreRules
    ) throws(SystemError) -> AbsentPath? {
        var directory = try OwnedFD.open(context, O_RDONLY | O_DIRECTORY)
        var here = TreePath()
        for name in path.components {
            if let last = here.last {
                directory = try OwnedFD.open(
                    last.description, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, at: directory.raw)
            }
            let entries = try readEntries(directory.raw, context)
            let next = here.appending(name)
            guard entries.contains(where: { $0.name == name }) else {
                let names = entries.filter {
                    !rules.isIgnored(here.appending($0.name).relativeBytes, isDirectory: $0.type == UInt8(DT_DIR))
                }
                return .missing(name: name, directory: here, names: names.map(\.name).sorted())
            }
            here = next
        }
        guard rules.isIgnored(path.relativeBytes, isDirectory: false), let line = rules.decidingLine(path.relativeBytes)
        else { return nil }
        return .ignored(file: rules.file, line: line)
    }
}
