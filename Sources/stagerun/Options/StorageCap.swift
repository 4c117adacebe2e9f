// How large the store may get, and seeing to that after a build.

import Glibc
import StageRun

/// `--keep-storage`, else STAGERUN_KEEP_STORAGE, else a fifth of the filesystem and at least 10 GB; nil for `none`.
func storageCap(
    option: String?, environment: (String) -> String?, filesystemSize: () -> UInt64
) throws(UsageError) -> UInt64? {
    let name = option != nil ? "--keep-storage" : "STAGERUN_KEEP_STORAGE"
    guard let text = option ?? environment("STAGERUN_KEEP_STORAGE").flatMap({ $0.isEmpty ? nil : $0 }) else {
        return max(10_000_000_000, filesystemSize() / 5)
    }
    return text == "none" ? nil : try sizeOption(text, option: name)
}

/// The bytes of the filesystem that `path` lies on; 0 when it does not say.
func filesystemSize(at path: String) -> UInt64 {
    var figures = statvfs()
    guard statvfs(path, &figures) == 0 else { return 0 }
    return UInt64(figures.f_blocks) &* UInt64(figures.f_frsize)
}

extension Surroundings {
    /// Holds the store under the cap; what it says of that, for people. A store that is too large fails no build.
    func keepUnder(_ option: String?, _ root: StageRoot) async throws(UsageError) -> String {
        let path = root.path
        guard
            let cap = try storageCap(
                option: option, environment: environment, filesystemSize: { filesystemSize(at: path) })
        else { return "" }
        do throws(StageRunError) {
            guard let report = try await root.keepUnder(cap) else { return "" }
            if let over = report.overCap, report.items.isEmpty {
                return
                    "The store is \(sizeText(over)) larger than it should be; see `stagerun du` and `stagerun rmi`.\n"
            }
            return
                "Freed \(sizeText(report.freed)) of the store, which had outgrown \(sizeText(cap)); see `stagerun du`.\n"
        } catch { return "The store could not be held under \(sizeText(cap)): \(error)\n" }
    }
}
