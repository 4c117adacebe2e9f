// What a directory holds, as the kernel wrote it: names are looked at where they lie, and copied only when kept.

import CLinux
import Glibc
import StageSystem

/// Some entries of a directory, in the form of getdents64: inode 8, offset 8, length 2, type 1, the name and its NUL.
struct Listing: Sendable {
    let bytes: [UInt8]
    /// The number of the first entry within its directory; gaps between listings are fine.
    let first: UInt32

    private static let nameOffset = 19
    /// What one listing has at most.
    static let size = 32 * 1024
    /// More entries than fit into one listing.
    static let most: UInt32 = 2048

    /// All entries of the open directory `fd`, in the kernel's order, `buffer` at a time.
    static func read(_ fd: CInt, _ buffer: UnsafeMutableRawBufferPointer) throws(SystemError) -> [Listing] {
        var listings: [Listing] = []
        while true {
            let count = try retrying("getdents64") {
                clinux_getdents64(fd, buffer.baseAddress, min(buffer.count, size))
            }
            if count == 0 { return listings }
            listings.append(Listing(bytes: Array(buffer[..<count]), first: UInt32(listings.count) &* most))
        }
    }

    init(bytes: [UInt8], first: UInt32) {
        self.bytes = bytes
        self.first = first
    }

    /// Names that were asked for instead of listed.
    init(names: [[UInt8]]) {
        var bytes: [UInt8] = []
        for name in names {
            let length = Self.nameOffset + name.count + 1
            bytes += [UInt8](repeating: 0, count: 16)
            bytes += [UInt8(truncatingIfNeeded: length), UInt8(truncatingIfNeeded: length >> 8), UInt8(DT_UNKNOWN)]
            bytes += name
            bytes.append(0)
        }
        self.init(bytes: bytes, first: 0)
    }

    /// Calls `body` with each entry but `.` and `..`: its number, its type and its name, which a NUL follows. Stops when
    /// `body` says false.
    func forEach(_ body: (UInt32, UInt8, UnsafeRawBufferPointer) -> Bool) {
        bytes.withUnsafeBytes { buffer in
            var offset = 0
            var number = first
            while offset + Self.nameOffset < buffer.count {
                let length = Int(
                    UInt16(littleEndian: buffer.loadUnaligned(fromByteOffset: offset + 16, as: UInt16.self)))
                let start = offset + Self.nameOffset
                guard length > Self.nameOffset, offset + length <= buffer.count, let base = buffer.baseAddress else {
                    return
                }
                let name = UnsafeRawBufferPointer(
                    start: base + start, count: strnlen(base + start, length - Self.nameOffset - 1))
                let type = buffer[offset + 18]
                offset += length
                if name.first == 0x2E, name.count == 1 || (name.count == 2 && name[1] == 0x2E) { continue }
                if !body(number, type, name) { return }
                number &+= 1
            }
        }
    }

    /// About how many entries it has.
    var weight: Int { bytes.count / 32 + 1 }
}

extension UnsafeRawBufferPointer {
    /// The name as a C string, for a name out of a listing.
    var terminated: UnsafePointer<CChar>? { baseAddress?.assumingMemoryBound(to: CChar.self) }
}

/// `statx` of a name out of a listing, not following a symlink: 0 or errno.
@inline(__always)
func statListed(_ directory: CInt, _ name: UnsafePointer<CChar>, _ info: inout clinux_stat) -> CInt {
    while clinux_statx(directory, name, AT_SYMLINK_NOFOLLOW, &info) != 0 {
        let code = errno
        if code != EINTR { return code }
    }
    return 0
}
