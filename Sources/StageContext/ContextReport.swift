// What would enter a build, for people: a walk of the context that reads no contents and writes nothing.

import CLinux
import Glibc
import StageStore
import StageSystem

/// What of a context enters a build, what does not, and why. Made by `ContextReport.make`.
public struct ContextReport: Sendable {
    /// A file or directory and its size. Paths are relative to the context's root.
    public struct Item: Hashable, Sendable {
        public var path: TreePath
        public var isDirectory: Bool
        /// Regular files at or beneath it.
        public var files: Int
        public var bytes: UInt64
    }

    /// Something that the ignore file leaves out. A directory is not opened unless a later `!` could reach into it.
    public struct Ignored: Hashable, Sendable {
        public var path: TreePath
        public var isDirectory: Bool
        /// The line of the ignore file that decided.
        public var line: Int
    }

    /// Something that should hardly be in a context.
    public struct Warning: Hashable, Sendable {
        public enum Kind: String, Hashable, Sendable {
            case repository, dependencies, privateKey, environment, largeFile, noIgnoreFile
        }
        public var kind: Kind
        /// Where it is; the root when the context as a whole is meant.
        public var path: TreePath
    }

    /// Regular files that enter, and their bytes.
    public var files = 0
    public var bytes: UInt64 = 0
    /// The largest of what enters, largest first, at most `limit` each.
    public var largestFiles: [Item] = []
    public var largestDirectories: [Item] = []
    /// The ignore file that decided, nil when there is none.
    public var ignoreFile: String?
    public var ignored: [Ignored] = []
    /// What no instruction selects: the topmost paths, largest first.
    public var unused: [Item] = []
    public var warnings: [Warning] = []

    /// A file of this size is warned about.
    public static let largeSize: UInt64 = 100 << 20

    /// Looks at the context of `request` without reading a file. Symlinks are never crossed, except that one which a
    /// pattern names adds its target inside the context to what is selected, as in a scan. It blocks.
    ///
    /// - Parameter limit: how many of the largest to keep.
    public static func make(_ request: ContextRequest, limit: Int = 10) throws(ContextError) -> ContextReport {
        var selection = Selection(request.patterns)
        for round in 0...40 {
            var survey = try ContextSurvey(request, selection)
            try survey.walk()
            var grew = false
            for link in survey.links where selection.insert(link ?? []) { grew = true }
            if !grew { return survey.report(limit) }
            if round == 39 { selection = .everything }
        }
        throw .unstable(path: request.path)
    }
}

/// One walk.
private struct ContextSurvey {
    private struct Directory {
        let names: [[UInt8]]
        /// Nil when no instruction selects anything in it.
        let reach: Selection.Reach?
        let pattern: Int?
        /// Where its files count: an index into `totals` or `unused`.
        let total: Int
    }

    private struct Total {
        let parent: Int?
        var item: ContextReport.Item
    }

    private let request: ContextRequest
    private let opener: DirectoryOpener
    private let leftOut: ScanScene.DirectoryIdentity?
    private var stack: [Directory]
    private var totals: [Total]
    private var unused: [ContextReport.Item] = []
    private var large: [ContextReport.Item] = []
    private var result = ContextReport()
    private(set) var links: [Selection.Path?] = []

    init(_ request: ContextRequest, _ selection: Selection) throws(ContextError) {
        self.request = request
        do throws(SystemError) {
            opener = DirectoryOpener(
                root: DirectoryDescriptor(try OwnedFD.open(request.path, O_RDONLY | O_DIRECTORY)))
        } catch {
            switch error.errno {
            case ENOENT: throw .missing(path: request.path)
            case ENOTDIR: throw .notDirectory(path: request.path)
            default: throw .unreadable(path: request.path, error)
            }
        }
        leftOut = ContextScanner.identity(of: request.leftOut)
        totals = [Total(parent: nil, item: .init(path: TreePath(), isDirectory: true, files: 0, bytes: 0))]
        stack = [Directory(names: [], reach: selection.root, pattern: nil, total: 0)]
        if !request.rules.file.isEmpty { result.ignoreFile = request.rules.file }
    }

    mutating func walk() throws(ContextError) {
        while let directory = stack.popLast() {
            if Task.isCancelled { throw .cancelled }
            let path = TreePath(directory.names.map { FileName(bytes: $0) })
            if directory.names.count > ScanScene.deepest {
                if directory.reach == nil { continue }
                throw .tooDeep(path: path.description, limit: ScanScene.deepest)
            }
            do throws(SystemError) {
                let descriptor = try opener.open(directory.names)
                for entry in try readEntries(descriptor.raw) {
                    try visit(entry, directory, path, descriptor.raw)
                }
            } catch {
                // A build does not look at what nothing selects, nor mind what went away meanwhile.
                if directory.reach == nil || (error.errno == ENOENT && !directory.names.isEmpty) { continue }
                throw .unreadable(path: path.description, error)
            }
        }
    }

    private mutating func visit(
        _ entry: DirectoryEntry, _ directory: Directory, _ parent: TreePath, _ descriptor: CInt
    ) throws(SystemError) {
        let info: clinux_stat
        do throws(SystemError) { info = try statEntry(descriptor, entry.name) } catch {
            if error.errno == ENOENT || directory.reach?.entering(entry.name.bytes) == nil { return }
            throw error
        }
        let kind = FileType(mode: info.mode)
        let isDirectory = kind == .directory
        if isDirectory, leftOut == .init(device: info.dev, inode: info.ino) { return }
        let path = parent.appending(entry.name)
        let bytes = path.relativeBytes
        let pattern = request.rules.last(matching: bytes, after: directory.pattern)
        if let pattern, !request.rules.patterns[pattern].negated {
            let opens = isDirectory && request.rules.canReinclude(beneath: bytes, after: pattern)
            if !opens {
                result.ignored.append(
                    .init(path: path, isDirectory: isDirectory, line: request.rules.patterns[pattern].line))
                return
            }
        }
        let reach = directory.reach?.entering(entry.name.bytes)
        if kind == .symlink, let here = directory.reach, let target = try? readLink(descriptor, entry.name) {
            for remainder in here.remainders(entry.name.bytes) {
                links.append(LinkTarget.path(target, in: directory.names, remainder: remainder))
            }
        }
        if reach != nil { warn(entry.name, path, kind, info.size) }
        let size = kind == .file ? info.size : 0
        let item = ContextReport.Item(
            path: path, isDirectory: isDirectory, files: kind == .file ? 1 : 0, bytes: size)
        guard let reach else {
            leave(item, directory, entry, pattern)
            return
        }
        if isDirectory {
            totals.append(Total(parent: directory.total, item: item))
            stack.append(
                Directory(
                    names: directory.names + [entry.name.bytes], reach: reach, pattern: pattern,
                    total: totals.count - 1))
        } else if kind == .file, reach == .whole {
            totals[directory.total].item.files += 1
            totals[directory.total].item.bytes += size
            large.append(item)
        }
    }

    /// Counts what nothing selects, under the topmost directory that nothing selects.
    private mutating func leave(
        _ item: ContextReport.Item, _ directory: Directory, _ entry: DirectoryEntry, _ pattern: Int?
    ) {
        var place = directory.total
        if directory.reach == nil {
            unused[place].files += item.files
            unused[place].bytes += item.bytes
        } else {
            place = unused.count
            unused.append(item)
        }
        guard item.isDirectory else { return }
        stack.append(
            Directory(names: directory.names + [entry.name.bytes], reach: nil, pattern: pattern, total: place))
    }

    private mutating func warn(_ name: FileName, _ path: TreePath, _ kind: FileType?, _ size: UInt64) {
        let text = name.description
        let found: ContextReport.Warning.Kind?
        switch kind {
        case .directory: found = text == ".git" ? .repository : text == "node_modules" ? .dependencies : nil
        case .file:
            let keys = ["id_rsa", "id_dsa", "id_ecdsa", "id_ed25519"]
            let isKey = keys.contains(text) || [".key", ".p12", ".pfx"].contains { text.hasSuffix($0) }
            let isSample = text.hasSuffix(".example") || text.hasSuffix(".sample") || text.hasSuffix(".template")
            if isKey {
                found = .privateKey
            } else if (text == ".env" || text.hasPrefix(".env.")) && !isSample {
                found = .environment
            } else {
                found = size >= ContextReport.largeSize ? .largeFile : nil
            }
        default: found = nil
        }
        if let found { result.warnings.append(.init(kind: found, path: path)) }
    }

    func report(_ limit: Int) -> ContextReport {
        var report = result
        var totals = totals
        // A directory comes after the one it is in, so one pass from the end sums up.
        for index in totals.indices.reversed() {
            guard let parent = totals[index].parent else { continue }
            totals[parent].item.files += totals[index].item.files
            totals[parent].item.bytes += totals[index].item.bytes
        }
        report.files = totals[0].item.files
        report.bytes = totals[0].item.bytes
        func isLarger(_ a: ContextReport.Item, _ b: ContextReport.Item) -> Bool {
            a.bytes != b.bytes ? a.bytes > b.bytes : a.path < b.path
        }
        let directories = totals.dropFirst().map(\.item).filter { $0.bytes > 0 }
        report.largestDirectories = Array(directories.sorted(by: isLarger).prefix(limit))
        report.largestFiles = Array(large.filter { $0.bytes > 0 }.sorted(by: isLarger).prefix(limit))
        report.unused = unused.filter { $0.files > 0 }.sorted(by: isLarger)
        report.ignored.sort { $0.path < $1.path }
        report.warnings.sort { $0.path < $1.path }
        if report.ignoreFile == nil { report.warnings.insert(.init(kind: .noIgnoreFile, path: TreePath()), at: 0) }
        return report
    }
}
