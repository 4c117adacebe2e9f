// PAX extended headers: `length key=value\n`, read strictly.

import StageStore

/// What the extended headers before a member say about it.
struct PAXRecords {
    var path: [UInt8]?
    var linkTarget: [UInt8]?
    var size: UInt64?
    var uid: UInt32?
    var gid: UInt32?
    var time: Timestamp?
    var xattrs: [[UInt8]: [UInt8]] = [:]
    /// A `GNU.sparse.` record was there: the content is not the file.
    var isSparse = false

    /// Adds the records in `data`; the reason when they are wrong.
    mutating func add(_ data: [UInt8]) -> String? {
        var position = 0
        while position < data.count {
            guard let record = Self.record(data, at: position) else {
                // Some writers fill up with NULs.
                if data[position...].allSatisfy({ $0 == 0 }) { return nil }
                return "an extended header record does not have the form 'length key=value'"
            }
            position = record.end
            if let reason = set(Array(data[record.key]), Array(data[record.value])) { return reason }
        }
        return nil
    }

    private static func record(
        _ data: [UInt8], at start: Int
    ) -> (key: Range<Int>, value: Range<Int>, end: Int)? {
        var length = 0
        var index = start
        while index < data.count, (0x30...0x39).contains(data[index]) {
            length = length * 10 + Int(data[index] - 0x30)
            if length > data.count { return nil }
            index += 1
        }
        let end = start + length
        guard index > start, index < end, end <= data.count, data[index] == 0x20, data[end - 1] == 0x0A else {
            return nil
        }
        let body = (index + 1)..<(end - 1)
        guard !body.isEmpty, let equals = data[body].firstIndex(of: 0x3D), equals > body.lowerBound else { return nil }
        return (body.lowerBound..<equals, (equals + 1)..<body.upperBound, end)
    }

    private mutating func set(_ key: [UInt8], _ value: [UInt8]) -> String? {
        if let name = Self.suffix(of: key, after: "SCHILY.xattr.") {
            if name.isEmpty || name.contains(0) { return "it has an extended attribute without a usable name" }
            xattrs[name] = value
            return nil
        }
        if Self.suffix(of: key, after: "GNU.sparse.") != nil {
            isSparse = true
            return nil
        }
        // An empty value takes an earlier record back.
        let text = String(decoding: value, as: UTF8.self)
        switch String(decoding: key, as: UTF8.self) {
        case "path":
            if value.contains(0) { return "its path has a NUL byte" }
            path = value.isEmpty ? nil : value
        case "linkpath":
            if value.contains(0) { return "its link target has a NUL byte" }
            linkTarget = value.isEmpty ? nil : value
        case "size":
            size = nil
            if value.isEmpty { return nil }
            guard let number = UInt64(text), number <= UInt64(Int64.max) else { return "its size is no number" }
            size = number
        case "uid":
            uid = nil
            if value.isEmpty { return nil }
            guard let number = UInt32(text) else { return "its uid \(printable(value)) is no 32-bit number" }
            uid = number
        case "gid":
            gid = nil
            if value.isEmpty { return nil }
            guard let number = UInt32(text) else { return "its gid \(printable(value)) is no 32-bit number" }
            gid = number
        case "mtime":
            time = nil
            if value.isEmpty { return nil }
            guard let parsed = Self.time(value) else { return "its mtime is no decimal number" }
            time = parsed
        default:
            break
        }
        return nil
    }

    private static func suffix(of key: [UInt8], after prefix: StaticString) -> [UInt8]? {
        let count = prefix.utf8CodeUnitCount
        let matches = prefix.withUTF8Buffer { key.starts(with: $0) }
        return matches ? Array(key[count...]) : nil
    }

    /// Decimal seconds with an optional fraction; digits past the ninth are cut off.
    static func time(_ value: [UInt8]) -> Timestamp? {
        let negative = value.first == 0x2D
        let parts = value.dropFirst(negative ? 1 : 0).split(
            separator: 0x2E, maxSplits: 1, omittingEmptySubsequences: false)
        guard let whole = parts.first, !whole.isEmpty, whole.count <= 18,
            whole.allSatisfy({ (0x30...0x39).contains($0) })
        else { return nil }
        var seconds: Int64 = 0
        for digit in whole { seconds = seconds * 10 + Int64(digit - 0x30) }
        var nanoseconds: UInt32 = 0
        if parts.count == 2 {
            guard parts[1].allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
            let digits = Array(parts[1].prefix(9))
            for index in 0..<9 {
                nanoseconds = nanoseconds * 10 + (index < digits.count ? UInt32(digits[index] - 0x30) : 0)
            }
        }
        if !negative { return Timestamp(seconds: seconds, nanoseconds: nanoseconds) }
        if nanoseconds == 0 { return Timestamp(seconds: -seconds) }
        return Timestamp(seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds)
    }
}
