// One listing of a directory: each entry is judged, compared with the index, and, where that does not settle it, looked at.

import CLinux
import Glibc
import StageHash
import StageStore
import StageSystem

/// What selection and ignore rules say about an entry.
struct Verdict {
    let reach: Selection.Reach
    let pattern: Int?
    let isIgnored: Bool
    /// Selected itself, or in something selected, and not ignored.
    var isTaken: Bool { reach == .whole && !isIgnored }
    /// On the way to something selected, and not ignored.
    var isPassed: Bool { reach != .whole && !isIgnored }
}

/// An entry that the index does not vouch for.
struct Candidate {
    let number: UInt32
    let type: UInt8
    let name: FileName
    let verdict: Verdict
    /// Its state, when that was looked up.
    var info: clinux_stat?
    /// Its position in the directory's record.
    let position: Int?

    /// A file that the index has and that was not looked at: one of many that changed, presumably.
    var isPresumed = false

    /// A regular file that has to be read, and small as far as is known.
    var isSmallFile: Bool {
        guard verdict.isTaken else { return false }
        return info.map { FileType(mode: $0.mode) == .file && $0.size <= FileReader.smallSize } ?? true
    }
}

extension ScanWorker {
    /// Goes through a listing once: what the index has as it is goes to `findings`, the rest comes back. Nothing is
    /// allocated for a name that the index has.
    mutating func sift(
        _ directory: ScannedDirectory, _ descriptor: DirectoryDescriptor, _ listing: Listing, _ isTrusted: Bool,
        _ findings: inout DirectoryFindings
    ) throws(ContextError) -> [Candidate] {
        let fd = descriptor.fd.raw
        let record = directory.record
        let isWhole = directory.reach == .whole
        let everything = isWhole && scene.rules.isEmpty ? Verdict(reach: .whole, pattern: nil, isIgnored: false) : nil
        var path = everything == nil ? directory.path : []
        if !path.isEmpty { path.append(0x2F) }
        var candidates: [Candidate] = []
        var failure: ContextError?
        var turn = 0
        var info = clinux_stat()
        let room = scene.room
        scene.index.withBytes { index in
            listing.forEach { number, type, raw in
                let position = record?.find(raw, turn: &turn, index)
                guard let verdict = everything ?? judge(raw, type, directory, &path) else {
                    if let position { findings.spared.append(KnownEntry(number: number, position: UInt32(position))) }
                    return true
                }
                // What is new is opened at once: one look at it less. So is what follows many changed files.
                let isExpected =
                    position.map {
                        room.changedInARow.load(ordering: .relaxed) >= Self.longRun
                            && record?.isSmallFile($0, index) == true
                    } ?? true
                let isLookedAt = !isExpected || type != UInt8(DT_REG) || !verdict.isTaken || !isTrusted
                if isLookedAt, let name = raw.terminated {
                    let code = statListed(fd, name, &info)
                    if code != 0 || raw.count > 255 {
                        failure = missed(code, FileName(bytes: raw), directory)
                        return failure == nil
                    }
                    if let position, let record, isTrusted, verdict.isTaken, record.isUnchanged(position, info, index),
                        isSettledByIndex(info, isWhole: isWhole)
                    {
                        count(info)
                        findings.unchanged.append(KnownEntry(number: number, position: UInt32(position)))
                        room.endRun()
                        return true
                    }
                    if position != nil, FileType(mode: info.mode) == .file {
                        room.changedInARow.wrappingAdd(1, ordering: .relaxed)
                    }
                }
                candidates.append(
                    Candidate(
                        number: number, type: type, name: FileName(bytes: raw), verdict: verdict,
                        info: isLookedAt ? info : nil, position: position,
                        isPresumed: position != nil && !isLookedAt))
                return true
            }
        }
        if let failure { throw failure }
        return candidates
    }

    /// After so many changed files in a row, in any directories, the next ones are taken for changed: a look at each would cost a sixth of the
    /// time. The first batch with one that did not change ends that.
    private static let longRun = 32

    /// True when the file was read in the state that the index has.
    func wasUnchanged(_ candidate: Candidate, _ file: clinux_stat, _ directory: ScannedDirectory) -> Bool {
        guard let position = candidate.position, let record = directory.record else { return false }
        return scene.index.withBytes { record.isUnchanged(position, file, $0) }
    }

    /// Looks at those candidates that were taken for changed; the ones that did not go to `findings`.
    mutating func look(
        _ candidates: ArraySlice<Candidate>, _ directory: ScannedDirectory, _ descriptor: DirectoryDescriptor,
        _ findings: inout DirectoryFindings
    ) throws(ContextError) -> [Candidate] {
        var rest: [Candidate] = []
        for var candidate in candidates {
            guard candidate.isPresumed else {
                rest.append(candidate)
                continue
            }
            let info: clinux_stat
            do throws(SystemError) { info = try statEntry(descriptor.fd.raw, candidate.name) } catch {
                if let failure = missed(error.errno, candidate.name, directory) { throw failure }
                continue
            }
            if let position = candidate.position, wasUnchanged(candidate, info, directory) {
                count(info)
                findings.unchanged.append(KnownEntry(number: candidate.number, position: UInt32(position)))
                continue
            }
            candidate.info = info
            candidate.isPresumed = false
            rest.append(candidate)
        }
        return rest
    }

    /// True for kinds of entries that need no second look: directories have their own record, a socket its event, and a
    /// symlink that is selected by name leads to more.
    private func isSettledByIndex(_ info: clinux_stat, isWhole: Bool) -> Bool {
        switch FileType(mode: info.mode) {
        case .file, .fifo, .characterDevice, .blockDevice: true
        case .symlink: isWhole
        case .directory, .socket, nil: false
        }
    }

    private mutating func count(_ info: clinux_stat) {
        if FileType(mode: info.mode) != .file { return }
        outcome.unchanged += 1
        outcome.files += 1
        outcome.bytes += info.size
    }

    /// Nil when nothing beneath the entry can enter either, as far as can be told without looking at it.
    ///
    /// - Parameter path: of the directory, with a `/`; unchanged on return.
    private func judge(
        _ name: UnsafeRawBufferPointer, _ type: UInt8, _ directory: ScannedDirectory, _ path: inout [UInt8]
    ) -> Verdict? {
        let reach: Selection.Reach
        if case .whole = directory.reach {
            reach = .whole
        } else {
            guard let rest = directory.reach.entering(Array(name)) else { return nil }
            reach = rest
        }
        if scene.rules.isEmpty { return Verdict(reach: reach, pattern: nil, isIgnored: false) }
        let length = path.count
        path.append(contentsOf: name)
        defer { path.removeSubrange(length...) }
        let pattern = scene.rules.last(matching: path, after: directory.pattern)
        let isIgnored = pattern.map { !scene.rules.patterns[$0].negated } ?? false
        if isIgnored, let pattern {
            if type != UInt8(DT_DIR) && type != UInt8(DT_UNKNOWN) { return nil }
            if !scene.rules.canReinclude(beneath: path, after: pattern) { return nil }
        }
        return Verdict(reach: reach, pattern: pattern, isIgnored: isIgnored)
    }

    /// What a failed look at an entry means; nil when it is simply not there.
    private mutating func missed(_ code: CInt, _ name: FileName, _ directory: ScannedDirectory) -> ContextError? {
        if name.bytes.count > 255 { return .nameTooLong(path: shown(directory, name)) }
        if code != ENOENT { return .unreadable(path: shown(directory, name), SystemError("statx", errno: code)) }
        // A name that was asked for and not listed may well be missing: COPY says so.
        if directory.reach.plainNames == nil { outcome.events.append(.vanished(path: shown(directory, name))) }
        return nil
    }

    /// Asks the sink for each unchanged file; those that it lost become candidates again.
    mutating func distrust(
        _ directory: ScannedDirectory, _ findings: inout DirectoryFindings, _ candidates: inout [Candidate]
    ) throws(ContextError) {
        guard let record = directory.record, !findings.unchanged.isEmpty else { return }
        let files = scene.index.withBytes { index in
            findings.unchanged.map { record.file(Int($0.position), index) }
        }
        var held: [Bool]
        do throws(StoreError) { held = try scene.sink.holds(files.compactMap { $0?.digest }) } catch {
            throw .store(error)
        }
        held.reverse()
        var kept: [KnownEntry] = []
        for (entry, file) in zip(findings.unchanged, files) {
            guard let file, held.popLast() != true else {
                kept.append(entry)
                continue
            }
            outcome.unchanged -= 1
            outcome.files -= 1
            outcome.bytes -= file.size
            let name = scene.index.withBytes { Array(record.name(Int(entry.position), $0)) }
            candidates.append(
                Candidate(
                    number: entry.number, type: UInt8(DT_REG), name: FileName(bytes: name),
                    verdict: Verdict(reach: .whole, pattern: nil, isIgnored: false), info: nil,
                    position: Int(entry.position)))
        }
        findings.unchanged = kept
    }

    // MARK: One entry

    mutating func place(
        _ candidate: Candidate, _ directory: ScannedDirectory, _ descriptor: DirectoryDescriptor, _ isTrusted: Bool,
        _ findings: inout DirectoryFindings
    ) throws(ContextError) {
        var candidate = candidate
        let verdict = candidate.verdict
        for _ in 0..<5 {
            guard let info = candidate.info else {
                return try read(candidate, directory, descriptor, isTrusted, &findings)
            }
            switch FileType(mode: info.mode) {
            case .directory: return descend(candidate, info, directory)
            case .file where verdict.isTaken:
                return try read(candidate, directory, descriptor, isTrusted, &findings)
            case .symlink where verdict.isTaken || verdict.isPassed:
                if let node = try link(candidate, info, directory, descriptor) {
                    findings.found.append(entry(candidate, node, info, directory, isTrusted: isTrusted))
                    return
                }
            case .fifo, .characterDevice, .blockDevice, .socket:
                if !verdict.isTaken { return }
                let node = try special(candidate, info, directory)
                findings.found.append(entry(candidate, node, info, directory, isTrusted: isTrusted))
                return
            case .file, .symlink: return
            case nil: throw .unreadable(path: shown(directory, candidate.name), SystemError("statx", errno: EINVAL))
            }
            // The link turned into something else.
            do throws(SystemError) { candidate.info = try statEntry(descriptor.fd.raw, candidate.name) } catch {
                if let failure = missed(error.errno, candidate.name, directory) { throw failure }
                return
            }
        }
        throw .unstable(path: shown(directory, candidate.name))
    }

    /// What the tree and the index will have of an entry.
    func entry(
        _ candidate: Candidate, _ node: Node, _ info: clinux_stat, _ directory: ScannedDirectory, isTrusted: Bool,
        fingerprint: Fingerprint? = nil
    ) -> FoundEntry {
        let signature = StatSignature(info)
        return FoundEntry(
            number: candidate.number, item: .init(name: candidate.name, entry: .node(node)), signature: signature,
            isTrusted: isTrusted && info.dev == directory.device && signature.isSettled(before: scene.settled),
            fingerprint: fingerprint)
    }

    private mutating func descend(_ candidate: Candidate, _ info: clinux_stat, _ directory: ScannedDirectory) {
        let verdict = candidate.verdict
        if let leftOut = scene.leftOut, leftOut == .init(device: info.dev, inode: info.ino) {
            if !verdict.isIgnored { outcome.events.append(.storeLeftOut(path: shown(directory, candidate.name))) }
            return
        }
        directory.expect(1)
        stack.append(
            .directory(
                ScannedDirectory(
                    parent: directory, name: candidate.name, number: candidate.number,
                    attributes: Attributes(context: info), device: info.dev, inode: info.ino, reach: verdict.reach,
                    pattern: verdict.pattern, isKept: verdict.isTaken,
                    record: scene.index.find(device: info.dev, inode: info.ino))))
    }

    /// Nil when the link turned into something else.
    private mutating func link(
        _ candidate: Candidate, _ info: clinux_stat, _ directory: ScannedDirectory, _ descriptor: DirectoryDescriptor
    ) throws(ContextError) -> Node? {
        let target: [UInt8]
        do throws(SystemError) { target = try readLink(descriptor.fd.raw, candidate.name) } catch {
            if error.errno == EINVAL || error.errno == ENOENT { return nil }
            throw .unreadable(path: shown(directory, candidate.name), error)
        }
        let remainders = directory.reach.remainders(candidate.name.bytes)
        if !remainders.isEmpty {
            let names = directory.names
            for remainder in remainders {
                outcome.links.append(LinkTarget.path(target, in: names, remainder: remainder))
            }
        }
        var attributes = Attributes(context: info)
        attributes.mode = 0o777
        return Node(attributes: attributes, content: .symlink(target))
    }

    private mutating func special(
        _ candidate: Candidate, _ info: clinux_stat, _ directory: ScannedDirectory
    ) throws(ContextError) -> Node {
        let content: Node.Content
        switch FileType(mode: info.mode) {
        case .fifo: content = .fifo
        case .characterDevice: content = .characterDevice(major: info.rdev_major, minor: info.rdev_minor)
        case .blockDevice: content = .blockDevice(major: info.rdev_major, minor: info.rdev_minor)
        case .socket, .file, .directory, .symlink, nil:
            outcome.events.append(.socketBecameFile(path: shown(directory, candidate.name)))
            outcome.files += 1
            let empty = UnsafeRawBufferPointer(start: nil, count: 0)
            do throws(StoreError) { content = .file(try scene.sink.put(empty), size: 0) } catch { throw .store(error) }
        }
        return Node(attributes: Attributes(context: info), content: content)
    }
}
