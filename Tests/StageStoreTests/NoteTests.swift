// Notes: seen at once by all, never half, and no commit.

import Glibc
import StageHash
import StageSystem
import Testing

@testable import StageStore

@Suite struct NoteTests {
    private let name = Digest.of(Array("subject".utf8))

    @Test func aNoteIsSeenByOthersAtOnceAndCommitsNothing() throws {
        let scratch = try Scratch()
        let (one, other) = (try Store(path: scratch.store), try Store(path: scratch.store))
        let revision = try one.revision()
        #expect(other.note(name) == nil)
        #expect(one.setNote(name, [1, 2, 3]))
        #expect(other.note(name) == [1, 2, 3])
        // A shorter one leaves nothing of a longer one.
        #expect(other.setNote(name, [9]))
        #expect(one.note(name) == [9])
        #expect(one.notes() == [name])
        #expect(!one.needsCommit)
        #expect(try other.revision() == revision)
        #expect(one.setNote(name, nil))
        #expect(other.note(name) == nil)
        #expect(one.setNote(name, nil), "what is not there is gone")
    }

    @Test func whatACrashLeftOfANoteIsNone() throws {
        let scratch = try Scratch()
        let store = try Store(path: scratch.store)
        let note = (0..<100).map { UInt8($0) }
        #expect(store.setNote(name, note))
        let file = "\(scratch.store)/notes/\(name.hex)"
        let whole = try readFile(file)
        for length in [0, 1, 3, 4, 50, whole.count - 1] {
            try writeFile(file, Array(whole[..<length]))
            #expect(store.note(name) == nil, "\(length) bytes")
        }
        var flipped = whole
        flipped[20] ^= 4
        try writeFile(file, flipped)
        #expect(store.note(name) == nil)
        try writeFile(file, [UInt8](repeating: 0, count: whole.count))
        #expect(store.note(name) == nil)
        // The note of another name is not taken for this one's.
        let other = Digest.of(Array("other".utf8))
        try writeFile("\(scratch.store)/notes/\(other.hex)", whole)
        #expect(store.note(other) == nil)
        try writeFile(file, whole)
        #expect(store.note(name) == note)
    }

    @Test func whatCannotBeKeptIsSaid() throws {
        let scratch = try Scratch()
        let store = try Store(path: scratch.store)
        try writeFile(scratch.store + "/notes", [])
        #expect(!store.setNote(name, [1]))
        #expect(store.note(name) == nil)
        unlink(scratch.store + "/notes")
        #expect(!store.setNote(name, [UInt8](repeating: 0, count: 2 << 20)))
    }

    @Test func aStoreInMemoryKeepsNotes() {
        let store = MemoryStore()
        #expect(store.setNote(name, [1]))
        #expect(store.note(name) == [1])
        #expect(store.notes() == [name])
        #expect(store.setNote(name, nil))
        #expect(store.note(name) == nil)
    }
}
