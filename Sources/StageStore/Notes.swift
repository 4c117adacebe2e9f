// Notes: small facts that are seen at once by all who share the store, and that a power cut may take. Nobody waits for the disk
// for them, and nothing else depends on them. ROOT/notes/NAME; Specs/store-format.md, "notes".

import Glibc
import StageHash
import StageSystem

/// Where notes are kept.
public protocol NoteStore: Sendable {
    /// The note of that name; nil when there is none, or only a part of one.
    func note(_ name: Digest) -> [UInt8]?

    /// Keeps a note, in place of an earlier one; nil takes it away.
    ///
    /// - Returns: false when it could not be kept.
    func setNote(_ name: Digest, _ note: [UInt8]?) -> Bool

    /// The names of all notes.
    func notes() -> [Digest]
}

extension Store: NoteStore {
    private static let largestNote = 1 << 20

    private func noteFile(_ name: Digest) -> String { "\(path)/notes/\(name.hex)" }

    public func note(_ name: Digest) -> [UInt8]? {
        guard let bytes = try? readFile(noteFile(name), limit: Self.largestNote) else { return nil }
        return bytes.withUnsafeBytes { kept in CheckedValue.open(kept, key: name.bytes).map { Array($0) } }
    }

    public func setNote(_ name: Digest, _ note: [UInt8]?) -> Bool {
        let file = noteFile(name)
        guard let note else { return unlink(file) == 0 || errno == ENOENT }
        let bytes = name.bytes.withUnsafeBytes { CheckedValue.close(note, key: $0) }
        if bytes.count > Self.largestNote { return false }
        // In its place: who reads it meanwhile finds a wrong check, which is no note.
        do throws(SystemError) {
            let fd = try openNote(file)
            try write(bytes, to: fd.raw, file)
            try retrying("ftruncate", file) { ftruncate(fd.raw, off_t(bytes.count)) }
            return true
        } catch { return false }
    }

    private func write(_ bytes: [UInt8], to fd: CInt, _ file: String) throws(SystemError) {
        let result: Result<Void, SystemError> = bytes.withUnsafeBytes { buffer in
            do throws(SystemError) { return .success(try writeAll(fd, buffer, at: 0, file)) } catch {
                return .failure(error)
            }
        }
        try result.get()
    }

    private func openNote(_ file: String) throws(SystemError) -> OwnedFD {
        do throws(SystemError) { return try OwnedFD.open(file, O_WRONLY | O_CREAT, mode: 0o644) } catch {
            if error.errno != ENOENT || mkdir(path + "/notes", 0o755) != 0 && errno != EEXIST { throw error }
            return try OwnedFD.open(file, O_WRONLY | O_CREAT, mode: 0o644)
        }
    }

    public func notes() -> [Digest] {
        guard let directory = try? OwnedFD.open(path + "/notes", O_RDONLY | O_DIRECTORY),
            let entries = try? readEntries(directory.raw, "notes")
        else { return [] }
        return entries.compactMap { Digest($0.name.description) }
    }
}
