// A file that is read in place.

import Glibc

/// The bytes of a file, mapped for reading until the last owner lets go.
///
/// For files that are replaced by renames and never changed in place: one that is cut short while it is mapped ends the
/// process (SIGBUS).
///
/// `@unchecked Sendable`: the bytes are never written to.
public final class MappedFile: @unchecked Sendable {
    /// Valid as long as this object lives.
    public let bytes: UnsafeRawBufferPointer

    /// Maps the first `size` bytes behind `fd`, at least one.
    public init(_ fd: CInt, size: Int, _ subject: String = "") throws(SystemError) {
        guard let start = mmap(nil, size, PROT_READ, MAP_PRIVATE, fd, 0), start != MAP_FAILED else {
            throw .last("mmap", subject)
        }
        bytes = UnsafeRawBufferPointer(start: start, count: size)
    }

    deinit { munmap(UnsafeMutableRawPointer(mutating: bytes.baseAddress), bytes.count) }
}
