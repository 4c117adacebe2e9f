// `FROM --platform=`: the short and the old spellings of a platform, brought to the usual one.

import StageGraph

extension Platform {
    private static let systems: Set<String> = ["linux", "windows", "darwin", "freebsd", "wasip1"]

    /// `linux/arm64`, `arm64`, `linux`, `linux/arm/v7`: what is left out is the build platform's, or linux.
    init?(specifier text: String, buildsOn build: Platform) {
        let allowed = text.utf8.allSatisfy {
            (0x30...0x39).contains($0) || (0x41...0x5A).contains($0) || (0x61...0x7A).contains($0)
                || "/_.-".utf8.contains($0)
        }
        guard allowed else { return nil }
        let name = text.lowercased()
        let whole =
            name.contains("/")
            ? name : Self.systems.contains(name) ? "\(name)/\(build.architecture)" : "\(build.os)/\(name)"
        guard var platform = Platform(whole) else { return nil }
        switch (platform.architecture, platform.variant) {
        case ("armhf", _): (platform.architecture, platform.variant) = ("arm", "v7")
        case ("armel", _): (platform.architecture, platform.variant) = ("arm", "v6")
        case ("arm", nil): platform.variant = "v7"
        case ("arm", let variant?): platform.variant = variant.hasPrefix("v") ? variant : "v" + variant
        case ("arm64", "v8"), ("arm64", "8"), ("amd64", "v1"): platform.variant = nil
        default: break
        }
        self = platform
    }
}
