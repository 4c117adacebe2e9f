// The two-stage Go example when nothing changed: start, look, say so.

import Foundation

func noOpRebuild(_ laboratory: Laboratory) throws -> [Finding] {
    try laboratory.makeBases("alpine", "golang")
    let app = laboratory.checkout + "/Examples/go-app"
    let file = app + "/Dockerfile.multistage"
    let build = [laboratory.binary, "build", "--progress", "plain", "-f", file, "-t", "bench-go:multi", app]
    try run(build, environment: laboratory.storeEnvironment)

    // By turns, so that both meet the same machine.
    var mine: [Usage] = []
    var floor: [Usage] = []
    for _ in 0..<51 {
        mine.append(try run(build, environment: laboratory.storeEnvironment))
        floor.append(try run(["/bin/true"]))
    }
    var result = Finding(benchmark: "no-op rebuild, two-stage Go", stagerun: median(mine.map(\.wall)))
    result.floors["spawn of /bin/true"] = median(floor.map(\.wall))
    result.bar = 15
    if found("buildah") != nil {
        result.floors["buildah"] = try buildahNoOp(laboratory, app: app, file: file)
    } else {
        laboratory.note("buildah is not installed, so there is no ratio to it")
    }
    var memory = Finding(
        benchmark: "no-op rebuild, two-stage Go: memory", stagerun: Double(mine.map(\.maxRSS).max() ?? 0) / 1024)
    memory.unit = "MiB"
    memory.bar = 64
    return [result, memory]
}

private func buildahNoOp(_ laboratory: Laboratory, app: String, file: String) throws -> Double {
    let place = try laboratory.scratch("buildah")
    let buildah = ["buildah", "--root", place + "/storage", "--runroot", place + "/run", "--storage-driver", "overlay"]
    defer {
        _ = try? run(["sh", "-c", "umount \(place)/storage/overlay 2>/dev/null; rm -rf --one-file-system \(place)"])
    }
    for image in ["alpine:3.19", "golang:1.22"] {
        let archive = place + "/image.tar"
        try run([laboratory.binary, "save", "-o", archive, image], environment: laboratory.storeEnvironment)
        try run(buildah + ["pull", "--quiet", "docker-archive:\(archive)"])
        unlink(archive)
    }
    let build =
        buildah + [
            "bud", "--layers", "--isolation", "chroot", "--network", "host", "-f", file, "-t", "bench-go:multi", app,
        ]
    try run(build)
    return median(try repeated(5, build).map(\.wall))
}
