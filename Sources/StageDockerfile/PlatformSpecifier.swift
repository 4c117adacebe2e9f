// `FROM --platform=` and the option of that name: the short and the old spellings of a platform, brought to the usual one.

import StageGraph

extension Platform {
    private static let systems: Set<String> = [
        "aix", "android", "darwin", "dragonfly", "freebsd", "hurd", "illumos", "ios", "js", "linux", "nacl", "netbsd",
        "openbsd", "plan9", "solaris", "windows", "zos",
    ]
    private static let architectures: Set<String> = [
        "386", "amd64", "amd64p32", "arm", "armbe", "arm64", "arm64be", "loong64", "mips", "mipsle", "mips64",
        "mips64le",
        "mips64p32", "mips64p32le", "ppc", "ppc64", "ppc64le", "riscv", "riscv64", "s390", "s390x", "sparc", "sparc64",
        "wasm",
    ]

    /// `linux/arm64`, `arm64`, `linux`, `linux/arm/v7`: what is left out is the build platform's. A word alone must be a
    /// system or an architecture that is known. Nil for what is no platform.
    public init?(specifier text: String, buildsOn build: Platform) {
        let allowed = text.utf8.allSatisfy {
            (0x30...0x39).contains($0) || (0x41...0x5A).contains($0) || (0x61...0x7A).contains($0)
                || "/_.-".utf8.contains($0)
        }
        let parts = text.lowercased().split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard allowed, parts.count <= 3, parts.allSatisfy({ !$0.isEmpty }) else { return nil }
        if parts.count > 1 {
            self.init(os: parts[0] == "macos" ? "darwin" : parts[0], architecture: parts[1])
            variant = parts.count == 3 ? parts[2] : nil
            normalizeArchitecture()
        } else if Self.systems.contains(parts[0]) {
            self.init(os: parts[0], architecture: build.architecture)
        } else {
            self.init(os: build.os, architecture: parts[0])
            normalizeArchitecture()
            guard Self.architectures.contains(architecture) else { return nil }
        }
    }

    private mutating func normalizeArchitecture() {
        switch (architecture, variant ?? "") {
        case ("i386", _): (architecture, variant) = ("386", nil)
        case ("x86_64", let level), ("x86-64", let level), ("amd64", let level):
            (architecture, variant) = ("amd64", level == "v1" || level.isEmpty ? nil : level)
        case ("aarch64", let level), ("arm64", let level):
            architecture = "arm64"
            variant =
                ["", "8", "v8", "v8.0"].contains(level) ? nil : ["9", "9.0", "v9.0"].contains(level) ? "v9" : level
        case ("armhf", _): (architecture, variant) = ("arm", "v7")
        case ("armel", _): (architecture, variant) = ("arm", "v6")
        case ("arm", ""), ("arm", "7"): variant = "v7"
        case ("arm", let level) where ["5", "6", "8"].contains(level): variant = "v" + level
        default: break
        }
    }
}
