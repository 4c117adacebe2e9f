// Who a command runs as: `USER` looked up in the image's own accounts, as docker looks it up.

import StageEngine
import StageStore

/// A user or group that the image does not know.
struct UnknownAccount: Error, Hashable, Sendable {
    /// "user" or "group".
    let kind: String
    let name: String
}

/// The numbers behind a `USER`, and its home.
struct RunUser: Sendable, Hashable {
    var uid: UInt32 = 0
    var gid: UInt32 = 0
    /// The supplementary groups, `gid` among them: a file that shuts its group out shuts this user out whatever
    /// group the process takes on later.
    var groups: [UInt32] = []
    var home = "/"

    /// - Parameter text: `name`, `uid`, `name:group`, `uid:gid`; empty is root.
    init(_ text: String, accounts: Accounts) throws(UnknownAccount) {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let user = parts.first.flatMap { $0.isEmpty ? nil : $0 } ?? "0"
        let group = parts.count > 1 && !parts[1].isEmpty ? parts[1] : nil
        let entry = accounts.users.first { $0.name == user } ?? accounts.users.first { String($0.uid) == user }
        if let entry {
            (uid, gid) = (entry.uid, entry.gid)
            if !entry.home.isEmpty { home = entry.home }
        } else if let number = UInt32(user) {
            uid = number
        } else {
            throw UnknownAccount(kind: "user", name: user)
        }
        if let group {
            // A group that is named takes the place of all others.
            if let found = accounts.groups.first(where: { $0.name == group }) {
                gid = found.gid
            } else if let number = UInt32(group) {
                gid = number
            } else {
                throw UnknownAccount(kind: "group", name: group)
            }
        }
        groups = [gid]
        if group == nil, let entry {
            groups += accounts.groups.filter { $0.members.contains(entry.name) && $0.gid != gid }.map(\.gid)
        }
    }
}
