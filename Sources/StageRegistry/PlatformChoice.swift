// Which entry of an index is for a platform: names as people write them, and older variants that also run.

import StageGraph

extension Platform {
    /// The one spelling of each platform: `arm64/v8` is `arm64`, `arm` is `arm/v7`, `amd64/v1` is `amd64`.
    var normalized: Platform {
        var (architecture, variant) = (architecture.lowercased(), variant?.lowercased())
        switch architecture {
        case "x86_64", "x86-64": architecture = "amd64"
        case "aarch64": architecture = "arm64"
        case "i386", "i486", "i586", "i686": architecture = "386"
        case "armhf": (architecture, variant) = ("arm", "v7")
        case "armel": (architecture, variant) = ("arm", "v6")
        default: break
        }
        if let digits = variant, Int(digits) != nil { variant = "v" + digits }
        switch (architecture, variant) {
        case ("arm64", "v8"), ("amd64", "v1"): variant = nil
        case ("arm", nil): variant = "v7"
        default: break
        }
        return Platform(os: os.lowercased(), architecture: architecture, variant: variant)
    }

    /// What runs on this platform, the best first: itself, then older variants of the same architecture. An image for
    /// another architecture (386 on amd64) is never taken silently.
    var acceptable: [Platform] {
        let own = normalized
        func variants(_ list: [String?]) -> [Platform] {
            list.map { Platform(os: own.os, architecture: own.architecture, variant: $0) }
        }
        switch (own.architecture, own.variant) {
        case ("arm", "v8"): return variants(["v8", "v7", "v6", "v5"])
        case ("arm", "v7"): return variants(["v7", "v6", "v5"])
        case ("arm", "v6"): return variants(["v6", "v5"])
        case ("amd64", "v4"): return variants(["v4", "v3", "v2", nil])
        case ("amd64", "v3"): return variants(["v3", "v2", nil])
        case ("amd64", "v2"): return variants(["v2", nil])
        case ("arm64", .some): return [own] + variants([nil])
        default: return [own]
        }
    }
}

extension [IndexEntry] {
    /// The entry for `wanted`; of equally good ones the first. An index of one entry without a platform leads to it.
    func choose(_ wanted: Platform) throws(RegistryError.Problem) -> IndexEntry {
        for platform in wanted.acceptable {
            if let entry = first(where: { $0.platform?.normalized == platform }) { return entry }
        }
        if count == 1, let only = first, only.platform == nil { return only }
        var available: [Platform] = []
        // Attestations are listed as unknown/unknown: nothing that anybody could ask for.
        for platform in compactMap(\.platform) where platform.os != "unknown" && !available.contains(platform) {
            available.append(platform)
        }
        throw .platformMissing(wanted: wanted, available: available)
    }
}
