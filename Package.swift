// swift-tools-version: 6.1
import PackageDescription

/// Settings that every Swift target shares.
let strict: [SwiftSetting] =
    [
        .swiftLanguageMode(.v6),
        .enableUpcomingFeature("ExistentialAny"),
    ] + direct

/// Concrete generic types by direct calls instead of by name: by name, the runtime goes through all conformances in the
/// program, eight thousand here, for each of them once (Specs/scheduler.md, "Measured"). To the package manager the
/// flag is an unsafe one, which it takes from no package that comes by version: there the targets do without.
var direct: [SwiftSetting] {
    let isDependency = Context.packageDirectory == "/" || Context.packageDirectory.contains("/checkouts/")
    let flag = "-disable-concrete-type-metadata-mangled-name-accessors"
    return isDependency ? [] : [.unsafeFlags(["-Xfrontend", flag], .when(configuration: .release))]
}

let package = Package(
    name: "stagerun",
    products: [
        .executable(name: "stagerun", targets: ["stagerun"]),
        .library(name: "StageRun", targets: ["StageRun"]),
        .library(
            name: "StageEngine", targets: ["StageEngine", "StageGraph", "StageHash", "StageStore", "StageSystem"]),
        .library(name: "StageStore", targets: ["StageStore"]),
        .library(name: "StageConformance", targets: ["StageConformance"]),
        .library(name: "StageContext", targets: ["StageContext", "StageHash", "StageStore", "StageSystem"]),
        .library(name: "StageDockerfile", targets: ["StageDockerfile"]),
        .library(name: "StageImage", targets: ["StageImage"]),
        .library(name: "StageRegistry", targets: ["StageRegistry"]),
        .library(name: "StageRunner", targets: ["StageRunner"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser.git", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-crypto.git", from: "4.5.0"),
        .package(url: "https://github.com/swift-server/async-http-client.git", from: "1.37.0"),
        .package(url: "https://github.com/apple/swift-nio.git", from: "2.80.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl.git", from: "2.30.0"),
    ],
    targets: [
        // C: shims and system libraries.
        .target(name: "CLinux"),
        .target(name: "CSandbox"),
        .target(name: "CSHA256"),
        .target(name: "CGear"),
        .target(name: "CURing", linkerSettings: [.linkedLibrary("uring")]),
        .systemLibrary(name: "CXXHash", pkgConfig: "libxxhash", providers: [.apt(["libxxhash-dev"])]),
        .systemLibrary(name: "CLZ4", pkgConfig: "liblz4", providers: [.apt(["liblz4-dev"])]),
        .systemLibrary(name: "CLMDB", pkgConfig: "lmdb", providers: [.apt(["liblmdb-dev"])]),
        .systemLibrary(name: "CISAL", pkgConfig: "libisal", providers: [.apt(["libisal-dev"])]),
        .systemLibrary(name: "CLZMA", pkgConfig: "liblzma", providers: [.apt(["liblzma-dev"])]),
        .systemLibrary(name: "CBZip2", providers: [.apt(["libbz2-dev"])]),
        .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),

        .target(name: "StageSystem", dependencies: ["CLinux", "CURing"], swiftSettings: strict),
        .target(
            name: "StageHash",
            dependencies: ["CSHA256", "CXXHash", "StageSystem", .product(name: "Crypto", package: "swift-crypto")],
            swiftSettings: strict),
        .target(
            name: "StageStore", dependencies: ["StageHash", "StageSystem", "CGear", "CLZ4", "CLMDB"],
            swiftSettings: strict),
        .target(
            name: "StageConformance",
            dependencies: ["StageEngine", "StageGraph", "StageStore", "StageHash", "StageSystem"], swiftSettings: strict
        ),
        .target(name: "StageContext", dependencies: ["StageStore", "StageHash", "StageSystem"], swiftSettings: strict),
        .target(name: "StageGraph", dependencies: ["StageHash"], swiftSettings: strict),
        .target(
            name: "StageEngine",
            dependencies: ["StageGraph", "StageContext", "StageStore", "StageHash", "StageSystem"],
            swiftSettings: strict),
        .target(
            name: "StageRunner",
            dependencies: ["CSandbox", "StageEngine", "StageGraph", "StageStore", "StageHash", "StageSystem"],
            swiftSettings: strict),
        .target(
            name: "StageImage",
            dependencies: [
                "StageGraph", "StageStore", "StageHash", "StageSystem", "CISAL", "CZstd", "CLZMA", "CBZip2",
            ],
            swiftSettings: strict),
        .target(
            name: "StageRegistry",
            dependencies: [
                "StageGraph", "StageHash", "StageSystem",
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ],
            swiftSettings: strict),
        .target(name: "StageDockerfile", dependencies: ["StageGraph"], swiftSettings: strict),
        .target(
            name: "StageRun",
            dependencies: [
                "StageDockerfile", "StageImage", "StageRegistry", "StageRunner", "StageEngine", "StageGraph",
                "StageContext", "StageStore", "StageHash", "StageSystem",
            ],
            swiftSettings: strict),
        .executableTarget(
            name: "stagerun",
            dependencies: [
                "StageRun", "StageContext", "StageDockerfile", "StageEngine", "StageGraph", "StageStore", "StageHash",
                "StageSystem",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: strict),
        .testTarget(
            name: "StageCommandTests",
            dependencies: [
                "StageConformance", "stagerun", "StageRun", "StageDockerfile", "StageEngine", "StageGraph",
                "StageStore",
                "StageHash", "StageSystem",
            ],
            swiftSettings: strict),

        .executableTarget(
            name: "SandboxProbe",
            dependencies: ["StageRunner", "StageEngine", "StageGraph", "StageStore", "StageHash", "StageSystem"],
            path: "Tests/SandboxProbe", swiftSettings: strict),
        .testTarget(
            name: "StageRunnerTests",
            dependencies: [
                "StageConformance", "StageRunner", "StageEngine", "StageStore", "StageHash", "StageSystem",
                "SandboxProbe",
            ],
            swiftSettings: strict),
        .testTarget(
            name: "StageImageTests",
            dependencies: [
                "StageConformance", "StageImage", "StageGraph", "StageStore", "StageHash", "StageSystem",
            ],
            swiftSettings: strict),
        .testTarget(name: "StageGraphTests", dependencies: ["StageGraph", "StageHash"], swiftSettings: strict),

        .testTarget(
            name: "StageEngineTests",
            dependencies: [
                "StageConformance", "StageEngine", "StageGraph", "StageStore", "StageHash", "StageSystem",
            ],
            swiftSettings: strict),
        .testTarget(
            name: "StageRegistryTests",
            dependencies: [
                "StageRegistry", "StageGraph", "StageHash",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ],
            swiftSettings: strict),
        .executableTarget(
            name: "embed-example", dependencies: ["StageRun", "StageEngine"], path: "Examples/embed",
            swiftSettings: strict),
        .executableTarget(
            name: "own-kind-example",
            dependencies: ["StageConformance", "StageEngine", "StageGraph", "StageStore", "StageSystem"],
            path: "Examples/own-kind", swiftSettings: strict),
        .executableTarget(
            name: "context-example", dependencies: ["StageContext", "StageSystem"], path: "Examples/context",
            swiftSettings: strict),
        .executableTarget(
            name: "StoreProbe", dependencies: ["StageConformance", "StageStore", "StageHash", "StageSystem"],
            path: "Tests/StoreProbe", swiftSettings: strict),
        .testTarget(
            name: "StageStoreTests",
            dependencies: ["StageConformance", "StageStore", "StageHash", "StageSystem", "StoreProbe", "CLMDB"],
            exclude: ["Disk"], swiftSettings: strict),
        .testTarget(name: "StageSystemTests", dependencies: ["StageSystem", "StoreProbe"], swiftSettings: strict),
        .testTarget(name: "EndToEndTests", dependencies: ["StageConformance"], swiftSettings: strict),
        .testTarget(
            name: "StageContextTests", dependencies: ["StageConformance", "StageContext"], exclude: ["Vectors"],
            swiftSettings: strict),
        .testTarget(
            name: "StageDockerfileTests", dependencies: ["StageDockerfile", "StageGraph"], swiftSettings: strict),
        .testTarget(
            name: "FuzzTests",
            dependencies: ["StageConformance", "StageDockerfile", "StageContext", "StageEngine", "StageGraph"],
            swiftSettings: strict),
        .testTarget(name: "ArchitectureTests", swiftSettings: strict),
        .testTarget(name: "StageHashTests", dependencies: ["StageHash"], swiftSettings: strict),
    ]
)
