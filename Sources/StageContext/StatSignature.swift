// What statx says about a file that changes whenever its content may have, and when that can be relied on.

import CLinux
import Glibc
import StageHash
import StageStore

/// What statx says about a file, as far as it changes whenever the content may have. The device is the directory's.
struct StatSignature: Hashable, Sendable {
    var inode: UInt64
    var size: UInt64
    var modified: Timestamp
    var changed: Timestamp
    var mode: UInt32

    init(_ info: clinux_stat) {
        inode = info.ino
        size = info.size
        modified = Timestamp(seconds: info.mtime_sec, nanoseconds: info.mtime_nsec)
        changed = Timestamp(seconds: info.ctime_sec, nanoseconds: info.ctime_nsec)
        mode = info.mode
    }

    /// False when the file changed too close to `limit` for its times to tell a further change. Times without
    /// fractions come from filesystems that keep seconds, or two of them.
    func isSettled(before limit: Timestamp) -> Bool {
        let coarse = modified.nanoseconds == 0 && changed.nanoseconds == 0
        let limit = coarse ? Timestamp(seconds: limit.seconds - 2, nanoseconds: limit.nanoseconds) : limit
        return modified < limit && changed < limit
    }
}

/// Which filesystems keep a file's inode number, and times that a change cannot escape.
enum InodeTrust {
    /// FUSE, NFS, SMB, 9P, Ceph, AFS, VirtualBox and FAT make inode numbers as they go, or take times from elsewhere.
    private static let untrusted: Set<UInt32> = [
        0x6573_5546, 0x6969, 0x517B, 0xFE53_4D42, 0xFF53_4D42, 0x0102_1997, 0x00C3_6400, 0x5346_414F, 0x6B41_4653,
        0x786F_4256, 0x4D44, 0x2011_BAB0,
    ]

    /// Whether signatures of files on the filesystem of `fd` can stand for their content. In doubt they do not.
    static func holds(_ fd: CInt) -> Bool {
        let type = clinux_filesystem_type(fd)
        return type >= 0 && !untrusted.contains(UInt32(truncatingIfNeeded: type))
    }
}

/// The clock that file times are taken from, with its grain: what changed later than this proves nothing.
func racyLimit() -> Timestamp {
    var now = timespec()
    var grain = timespec()
    clock_gettime(CLOCK_REALTIME_COARSE, &now)
    clock_getres(CLOCK_REALTIME_COARSE, &grain)
    var seconds = Int64(now.tv_sec)
    var nanoseconds = Int64(now.tv_nsec) - Int64(grain.tv_nsec)
    if nanoseconds < 0 {
        nanoseconds += 1_000_000_000
        seconds -= 1
    }
    return Timestamp(seconds: seconds, nanoseconds: UInt32(nanoseconds))
}

/// The number that the names of one file share in a tree: made from the inode, so that it needs no look at the other names.
/// It is in no identity and reaches no image; a copy gives groups numbers of its own.
func linkGroup(device: UInt64, inode: UInt64) -> UInt64 {
    withUnsafeBytes(of: (device.littleEndian, inode.littleEndian)) { checksum($0) } | 1
}
