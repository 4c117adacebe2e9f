// swift-tools-version: 6.1
import PackageDescription

// A package of its own: it measures the release binary as a whole process and shares no code with it. The probes and the plot
// link the library, as another builder would. Needs Debian's libssl-dev beside what the library needs.
let package = Package(
    name: "Benchmarks",
    dependencies: [.package(name: "stagerun", path: "..")],
    targets: [
        .target(name: "CFloor"),
        .executableTarget(
            name: "scan-floor",
            linkerSettings: [.linkedLibrary("crypto"), .linkedLibrary("xxhash")]),
        .executableTarget(
            name: "scan-probe", dependencies: [.product(name: "StageContext", package: "stagerun")],
            swiftSettings: [.swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny")]),
        .executableTarget(
            name: "store-probe",
            dependencies: [
                .product(name: "StageContext", package: "stagerun"), .product(name: "StageEngine", package: "stagerun"),
                .product(name: "StageImage", package: "stagerun"), .product(name: "StageStore", package: "stagerun"),
            ],
            swiftSettings: [.swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny")]),
        .executableTarget(
            name: "dockerfile-probe", dependencies: [.product(name: "StageDockerfile", package: "stagerun")],
            swiftSettings: [.swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny")]),
        .executableTarget(
            name: "engine-probe",
            dependencies: [
                .product(name: "StageEngine", package: "stagerun"), .product(name: "StageStore", package: "stagerun"),
            ],
            swiftSettings: [.swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny")]),
        .executableTarget(
            name: "schedule-plot", dependencies: [.product(name: "StageEngine", package: "stagerun")],
            swiftSettings: [.swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny")]),
        .executableTarget(
            name: "bench", dependencies: ["CFloor"],
            swiftSettings: [.swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny")]),
    ]
)
