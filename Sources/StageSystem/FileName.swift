// File names are bytes, not text: one component, and a path of them beneath a root.

/// One component of a path, as the bytes the kernel gave. Never empty, never with `/` or NUL.
public struct FileName: Hashable, Comparable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
    public let bytes: [UInt8]

    public init(bytes: [UInt8]) { self.bytes = bytes }
    public init(bytes: some Sequence<UInt8>) { self.bytes = Array(bytes) }
    public init(_ string: String) { bytes = Array(string.utf8) }
    public init(stringLiteral value: String) { bytes = Array(value.utf8) }

    /// False for what no directory may hold: empty, `.`, `..`, or with `/` or NUL in it.
    public var isValid: Bool {
        !bytes.isEmpty && bytes.count <= 255 && bytes != [0x2E] && bytes != [0x2E, 0x2E]
            && !bytes.contains { $0 == 0x2F || $0 == 0 }
    }

    /// Byte order, as the canonical encodings sort.
    public static func < (a: FileName, b: FileName) -> Bool { precedes(a.bytes, b.bytes) }

    /// The name as text; bytes that are not UTF-8 show as replacement characters.
    public var description: String { String(decoding: bytes, as: UTF8.self) }

    /// Calls `body` with the name as a C string.
    public func withCString<R, E: Error>(_ body: (UnsafePointer<CChar>) throws(E) -> R) throws(E) -> R {
        try withUnsafeTemporaryAllocation(of: CChar.self, capacity: bytes.count + 1) { buffer throws(E) -> R in
            UnsafeMutableRawBufferPointer(buffer).copyBytes(from: bytes)
            buffer[bytes.count] = 0
            // The buffer has at least one element, so its base address exists.
            return try body(UnsafePointer(buffer.baseAddress.unsafelyUnwrapped))
        }
    }
}

/// Lexicographic order of two byte strings.
@inlinable
public func precedes(_ a: [UInt8], _ b: [UInt8]) -> Bool {
    a.withUnsafeBufferPointer { x in
        b.withUnsafeBufferPointer { y in
            var index = 0
            let count = min(x.count, y.count)
            while index < count {
                if x[index] != y[index] { return x[index] < y[index] }
                index += 1
            }
            return x.count < y.count
        }
    }
}

/// A cleaned path beneath some root: components only, no `.` and no `..`, empty for the root itself.
public struct TreePath: Hashable, Comparable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
    public var components: [FileName]

    /// How many directories may lie inside each other. Trees are walked recursively, with a descriptor a level, so this is
    /// what a thread's stack and the usual 1,024 open files take with ease.
    public static let depthLimit = 512

    public init(_ components: [FileName] = []) { self.components = components }

    /// Cleans `bytes`: empty components and `.` vanish, `..` takes its parent away and never leaves the root.
    public init(bytes: some Sequence<UInt8>) {
        components = []
        var component: [UInt8] = []
        func flush(_ components: inout [FileName]) {
            if component == [0x2E, 0x2E] {
                if !components.isEmpty { components.removeLast() }
            } else if !component.isEmpty && component != [0x2E] {
                components.append(FileName(bytes: component))
            }
            component = []
        }
        for byte in bytes {
            if byte == 0x2F { flush(&components) } else { component.append(byte) }
        }
        flush(&components)
    }

    public init(_ string: String) { self.init(bytes: string.utf8) }
    public init(stringLiteral value: String) { self.init(value) }

    public var isRoot: Bool { components.isEmpty }
    public var parent: TreePath { TreePath(Array(components.dropLast())) }
    public var last: FileName? { components.last }

    public func appending(_ name: FileName) -> TreePath { TreePath(components + [name]) }
    public func appending(_ path: TreePath) -> TreePath { TreePath(components + path.components) }
    public func starts(with prefix: TreePath) -> Bool { components.starts(with: prefix.components) }

    /// Joined by `/`, without a leading one; empty for the root.
    public var relativeBytes: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(components.reduce(0) { $0 + $1.bytes.count + 1 })
        for (index, name) in components.enumerated() {
            if index > 0 { bytes.append(0x2F) }
            bytes.append(contentsOf: name.bytes)
        }
        return bytes
    }

    /// With a leading `/`.
    public var description: String { "/" + String(decoding: relativeBytes, as: UTF8.self) }

    /// Component-wise byte order.
    public static func < (a: TreePath, b: TreePath) -> Bool { a.components.lexicographicallyPrecedes(b.components) }
}
