// What the reachable COPY and ADD instructions can select: the scan looks at nothing else.

import StageSystem

/// The paths that a scan is narrowed to.
struct Selection: Sendable {
    /// One name of a selected path.
    enum Part: Hashable, Sendable {
        case name([UInt8])
        case wildcard(IgnorePattern.Form)

        func matches(_ name: [UInt8]) -> Bool {
            switch self {
            case .name(let bytes): bytes == name
            case .wildcard(let form): name.withUnsafeBytes { form.matches($0) { decodedCharacters(name) } }
            }
        }
    }

    /// A path whose parts select names; everything beneath what it selects is selected too.
    typealias Path = [Part]

    private(set) var paths: Set<Path>
    /// What the paths go through, so that a thousand of them are not held against each other.
    private var ways: Set<Path> = []

    /// The whole context.
    static let everything = Selection(paths: [[]])

    /// - Parameter patterns: as COPY and ADD name their sources; nil selects everything.
    init(_ patterns: [String]?) {
        guard let patterns else {
            self = .everything
            return
        }
        paths = []
        for pattern in patterns { insert(Self.path(pattern)) }
    }

    private init(paths: Set<Path>) { self.paths = paths }

    /// Adds a path; says whether that selects more than before.
    @discardableResult
    mutating func insert(_ path: Path) -> Bool {
        if paths.contains(path) || path.indices.contains(where: { paths.contains(Array(path[..<$0])) }) { return false }
        if ways.contains(path) { paths = paths.filter { !$0.starts(with: path) } }
        paths.insert(path)
        for index in path.indices { ways.insert(Array(path[..<index])) }
        return true
    }

    private static func path(_ pattern: String) -> Path {
        var path: Path = []
        for component in TreePath(pattern).components {
            let special = component.bytes.contains { $0 == 0x2A || $0 == 0x3F || $0 == 0x5B || $0 == 0x5C }
            if !special {
                path.append(.name(component.bytes))
                continue
            }
            // `**` (COPY --parents) goes any depth, and what does not parse is for COPY to complain about: both select
            // all from here on.
            let text = component.description
            if text.contains("**") { return path }
            guard let form = PatternParser.parse(component.bytes) else { return path }
            path.append(.wildcard(form))
        }
        return path
    }

    /// What the selection leaves of a directory.
    enum Reach: Hashable, Sendable {
        /// All of it.
        case whole
        /// What these paths, relative to the directory, select.
        case some(Fan)
    }

    /// Paths from one directory, by the names that they begin with.
    struct Fan: Hashable, Sendable {
        let paths: [Path]
        fileprivate let named: [[UInt8]: [Int]]
        fileprivate let others: [Int]

        init(_ paths: [Path]) {
            self.paths = paths
            var named: [[UInt8]: [Int]] = [:]
            var others: [Int] = []
            for (index, path) in paths.enumerated() {
                if case .name(let name)? = path.first {
                    named[name, default: []].append(index)
                } else {
                    others.append(index)
                }
            }
            self.named = named
            self.others = others
        }

        /// The paths whose first part matches, without it.
        fileprivate func remainders(_ name: [UInt8]) -> [Path] {
            let wild = others.filter { paths[$0].first?.matches(name) ?? false }
            return ((named[name] ?? []) + wild).map { Array(paths[$0].dropFirst()) }
        }

        static func == (a: Fan, b: Fan) -> Bool { a.paths == b.paths }
        func hash(into hasher: inout Hasher) { hasher.combine(paths) }
    }

    var root: Reach { paths.contains([]) ? .whole : .some(Fan(Array(paths))) }
}

extension Selection.Reach {
    /// What is left for the entry `name` of this directory; nil when nothing selects it.
    func entering(_ name: [UInt8]) -> Selection.Reach? {
        guard case .some(let fan) = self else { return .whole }
        let rest = fan.remainders(name)
        if rest.isEmpty { return nil }
        return rest.contains([]) ? .whole : .some(Selection.Fan(rest))
    }

    /// The paths left behind the entry `name`, one of them empty when it is selected itself.
    func remainders(_ name: [UInt8]) -> [Selection.Path] {
        guard case .some(let fan) = self else { return [] }
        return fan.remainders(name)
    }

    /// The names that are looked for, when they are so few that asking for each beats listing the directory.
    var plainNames: [[UInt8]]? {
        guard case .some(let fan) = self, fan.paths.count <= 64 else { return nil }
        var names: Set<[UInt8]> = []
        for path in fan.paths {
            guard case .name(let name)? = path.first else { return nil }
            names.insert(name)
        }
        return Array(names)
    }
}

/// Where a symlink that a selected path goes through leads.
enum LinkTarget {
    /// The path from the context's root that is selected by `remainder` behind a link in `directory`; nil when only the
    /// filesystem could tell (`..` behind a name that may be a link itself): then everything is scanned.
    static func path(
        _ target: [UInt8], in directory: [[UInt8]], remainder: Selection.Path
    ) -> Selection.Path? {
        var names = target.first == 0x2F ? [] : directory
        var descended = false
        for part in target.split(separator: 0x2F) where part != [0x2E] {
            if part == [0x2E, 0x2E] {
                if descended { return nil }
                _ = names.popLast()
            } else {
                names.append(Array(part))
                descended = true
            }
        }
        return names.map { .name($0) } + remainder
    }
}
