// swift-tools-version: 6.1
import PackageDescription

// A package of its own: it measures the release binary as a whole process and shares no code with it.
let package = Package(
    name: "Benchmarks",
    targets: [
        .target(name: "CFloor"),
        .executableTarget(
            name: "bench", dependencies: ["CFloor"],
            swiftSettings: [.swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny")]),
    ]
)
