// What a run may leave behind: processes, mounts, images, files.

import Foundation
import Testing

enum Traces {
    /// The command lines of the processes that hold `marker`.
    static func processes(_ marker: String) -> [String] {
        let own = getpid()
        return processIDs().filter { $0 != own }.compactMap { process in
            guard let line = FileManager.default.contents(atPath: "/proc/\(process)/cmdline") else { return nil }
            let text = String(decoding: line.map { $0 == 0 ? 0x20 : $0 }, as: UTF8.self)
            return text.contains(marker) ? "\(process): \(text)" : nil
        }
    }

    /// The mounts under `directory`, in every mount namespace of the machine.
    static func mounts(under directory: String) -> Set<String> {
        var found: Set<String> = []
        for process in processIDs() {
            guard let table = FileManager.default.contents(atPath: "/proc/\(process)/mountinfo") else { continue }
            for line in String(decoding: table, as: UTF8.self).split(separator: "\n") where line.contains(directory) {
                found.insert(String(line))
            }
        }
        return found
    }

    /// What the directories of running steps hold in a store where nothing runs.
    static func openRuns(in store: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: store + "/runs")
    }

    private static func processIDs() -> [pid_t] {
        ((try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []).compactMap { pid_t($0) }
    }

    /// Waits until `condition` holds; false at the deadline.
    static func eventually(within limit: Duration, _ condition: () async throws -> Bool) async rethrows -> Bool {
        let start = ContinuousClock.now
        while start.duration(to: .now) < limit {
            if try await condition() { return true }
            try? await Task.sleep(for: .milliseconds(10))
        }
        return try await condition()
    }
}
