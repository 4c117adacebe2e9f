// User and group names as the filesystem of an image defines them: /etc/passwd and /etc/group, read from its tree.

import StageGraph
import StageHash
import StageStore
import StageSystem

/// The accounts of one tree.
public struct Accounts: Sendable {
    public struct User: Sendable, Hashable {
        public var name: String
        public var uid: UInt32
        public var gid: UInt32
        public var home: String
    }

    public struct Group: Sendable, Hashable {
        public var name: String
        public var gid: UInt32
        public var members: [String]
    }

    public let users: [User]
    public let groups: [Group]

    /// Reads both files of `tree`, following symlinks inside it; a missing file has no entries.
    public init(_ tree: TreeRef, store: any TreeStore) throws(StoreError) {
        users = try Self.lines("/etc/passwd", tree, store).compactMap { fields in
            guard fields.count >= 4, let uid = UInt32(fields[2]), let gid = UInt32(fields[3]) else { return nil }
            return User(name: fields[0], uid: uid, gid: gid, home: fields.count > 5 ? fields[5] : "")
        }
        groups = try Self.lines("/etc/group", tree, store).compactMap { fields in
            guard fields.count >= 3, let gid = UInt32(fields[2]) else { return nil }
            let members = fields.count > 3 ? fields[3].split(separator: ",").map(String.init) : []
            return Group(name: fields[0], gid: gid, members: members)
        }
    }

    private static func lines(
        _ path: TreePath, _ tree: TreeRef, _ store: any TreeStore
    ) throws(StoreError) -> [[String]] {
        guard case .node(let node)? = try store.find(path, in: tree)?.entry, let file = node.file, file.size < 16 << 20
        else { return [] }
        return String(decoding: try store.read(file.digest), as: UTF8.self)
            .split(whereSeparator: \.isNewline)
            .map { $0.split(separator: ":", omittingEmptySubsequences: false).map(String.init) }
    }

    /// Why a name has no number here.
    public struct Unknown: Error, Hashable, Sendable {
        public let kind: String
        public let name: String
    }

    /// The numbers of `owner`, and what of it has no entry: such a user is 0:0, such a group the user's.
    public func resolveLeniently(_ owner: Owner) -> (numbers: AccountNumbers, unknown: [Unknown]) {
        var unknown: [Unknown] = []
        var numbers = AccountNumbers(uid: 0, gid: 0)
        if let number = Self.number(owner.user) {
            numbers = AccountNumbers(uid: number, gid: number)
        } else if let user = users.first(where: { $0.name == owner.user }) {
            numbers = AccountNumbers(uid: user.uid, gid: user.gid)
        } else {
            unknown.append(Unknown(kind: "user", name: owner.user))
        }
        guard let group = owner.group else { return (numbers, unknown) }
        if let number = Self.number(group) {
            numbers.gid = number
        } else if let entry = groups.first(where: { $0.name == group }) {
            numbers.gid = entry.gid
        } else {
            unknown.append(Unknown(kind: "group", name: group))
        }
        return (numbers, unknown)
    }

    /// What BuildKit takes for a number where an owner is given: 31 bits, root, and nothing at all. Anything else is a name.
    static func number(_ text: String) -> UInt32? {
        if text.isEmpty || text == "root" { return 0 }
        return Int32(text).flatMap { UInt32(exactly: $0) }
    }

    /// The numbers of `owner`. A user given by number alone has that number for its group too; one given by name
    /// alone has the group of its entry.
    public func resolve(_ owner: Owner) throws(Unknown) -> (uid: UInt32, gid: UInt32) {
        let uid: UInt32
        var gid: UInt32
        if let number = UInt32(owner.user) {
            (uid, gid) = (number, number)
        } else if let user = users.first(where: { $0.name == owner.user }) {
            (uid, gid) = (user.uid, user.gid)
        } else if owner.user.isEmpty {
            (uid, gid) = (0, 0)
        } else {
            throw Unknown(kind: "user", name: owner.user)
        }
        if let group = owner.group, !group.isEmpty {
            if let number = UInt32(group) {
                gid = number
            } else if let entry = groups.first(where: { $0.name == group }) {
                gid = entry.gid
            } else {
                throw Unknown(kind: "group", name: group)
            }
        }
        return (uid, gid)
    }
}
