// What the tests share: trees described in lines of text, archives made in memory, and real tools where they are installed.

import FoundationEssentials
import Glibc
import StageHash
import StageStore
import StageSystem
import Testing

@testable import StageImage

/// A member and its content, for archives made in memory.
struct Item: CustomTestStringConvertible {
    var member: TarMember
    var content: [UInt8] = []

    var testDescription: String { printable(member.path.prefix(40)) }

    static func file(_ path: String, _ text: String, mode: UInt16 = 0o644) -> Item {
        file(path, Array(text.utf8), mode: mode)
    }

    static func file(_ path: String, _ content: [UInt8], mode: UInt16 = 0o644) -> Item {
        Item(
            member: TarMember(path: Array(path.utf8), kind: .file, size: UInt64(content.count), mode: mode),
            content: content)
    }

    static func directory(_ path: String, mode: UInt16 = 0o755) -> Item {
        Item(member: TarMember(path: Array(path.utf8), kind: .directory, mode: mode))
    }

    static func symlink(_ path: String, _ target: String) -> Item {
        Item(member: TarMember(path: Array(path.utf8), kind: .symlink, linkTarget: Array(target.utf8), mode: 0o777))
    }

    static func link(_ path: String, _ target: String) -> Item {
        Item(member: TarMember(path: Array(path.utf8), kind: .hardLink, linkTarget: Array(target.utf8), mode: 0o644))
    }
}

func archive(_ items: [Item]) throws -> [UInt8] {
    var bytes: [UInt8] = []
    var writer = TarWriter { piece in bytes.append(contentsOf: piece) }
    for item in items {
        try writer.begin(item.member)
        try item.content.withUnsafeBytes { try writer.write($0) }
    }
    try writer.finish()
    return bytes
}

func parse(_ bytes: [UInt8], into store: MemoryStore, whiteouts: Bool = true) throws -> ParsedLayer {
    try ParsedLayer(reading: MemorySource(bytes), into: store, whiteouts: whiteouts)
}

/// The tree of layers on top of each other.
func tree(_ layers: [[Item]], in store: MemoryStore) throws -> TreeRef? {
    var result: TreeRef?
    for items in layers { result = try parse(try archive(items), into: store).apply(to: result, in: store) }
    return result
}

/// A line a node: path, kind, mode, owner, xattrs and content, for comparing.
func listing(_ tree: TreeRef?, in store: MemoryStore, times: Bool = false) throws -> [String] {
    guard let tree else { return [] }
    var lines: [String] = []
    var groups: [UInt64: String] = [:]
    try store.walk(tree) { path, entry throws(StoreError) in
        func common(_ attributes: Attributes) -> String {
            let xattrs = attributes.xattrs.map { String(decoding: $0.name, as: UTF8.self) + "=" + hex($0.value) }
            return String(attributes.mode, radix: 8) + " \(attributes.uid):\(attributes.gid)"
                + (xattrs.isEmpty ? "" : " " + xattrs.joined(separator: ","))
                + (times ? " @\(attributes.time.seconds).\(attributes.time.nanoseconds)" : "")
        }
        switch entry {
        case .directory(let ref):
            lines.append("\(path) dir " + common(try store.directory(ref.object).attributes))
        case .node(let node):
            var line = "\(path) "
            switch node.content {
            case .file(let digest, let size):
                let text = size < 64 ? "'\(String(decoding: try store.read(digest), as: UTF8.self))'" : digest.short
                line += "file \(text)"
            case .symlink(let target): line += "-> " + String(decoding: target, as: UTF8.self)
            case .fifo: line += "fifo"
            case .characterDevice(let major, let minor): line += "char \(major),\(minor)"
            case .blockDevice(let major, let minor): line += "block \(major),\(minor)"
            }
            line += " " + common(node.attributes)
            if node.linkGroup != 0 {
                if let first = groups[node.linkGroup] {
                    line += " = \(first)"
                } else {
                    groups[node.linkGroup] = path.description
                }
            }
            lines.append(line)
        }
    }
    return lines
}

func hex(_ bytes: [UInt8]) -> String { bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined() }

/// A directory that vanishes with its owner.
final class ScratchDirectory {
    let path: String

    init() throws {
        var template = Array("/tmp/stage-image-test-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw SystemError.last("mkdtemp") }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { try? removeTree(path) }

    func callAsFunction(_ name: String) -> String { path + "/" + name }

    func write(_ name: String, _ bytes: [UInt8]) throws {
        let fd = try OwnedFD.open(self(name), O_WRONLY | O_CREAT | O_TRUNC, mode: 0o644)
        try bytes.withUnsafeBytes { try writeAll(fd.raw, $0) }
    }
}

/// Runs a shell script in `directory` and gives what it wrote; fails the test when it fails.
@discardableResult
func shell(_ script: String, in directory: ScratchDirectory, sourceLocation: SourceLocation = #_sourceLocation) throws
    -> String
{
    let output = directory(".output")
    let full = "cd '\(directory.path)' && { \(script)\n} > '\(output)' 2>&1 < /dev/null"
    var pid = pid_t()
    var arguments: [UnsafeMutablePointer<CChar>?] = [strdup("bash"), strdup("-ec"), strdup(full), nil]
    defer { arguments.forEach { free($0) } }
    let status = posix_spawn(&pid, "/bin/bash", nil, nil, &arguments, environ)
    guard status == 0 else { throw SystemError("posix_spawn", "bash", errno: status) }
    var result: CInt = 0
    while waitpid(pid, &result, 0) < 0 && errno == EINTR {}
    let text = String(decoding: try readFile(output), as: UTF8.self)
    #expect(result == 0, "\(script) failed:\n\(text)", sourceLocation: sourceLocation)
    return text
}

/// Whether a tool is installed; in CI, all of them have to be.
func installed(_ tool: String) -> Bool {
    let found = (getenv("PATH").map { String(cString: $0) } ?? "").split(separator: ":")
        .contains { access("\($0)/\(tool)", X_OK) == 0 }
    if !found, getenv("CI") == nil { print("SKIPPED: \(tool) is not installed, so what it accepts is not tested") }
    return found || getenv("CI") != nil
}
