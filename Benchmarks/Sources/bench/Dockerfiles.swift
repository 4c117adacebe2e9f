// Reading Dockerfiles: a large one in this process' neighbour `dockerfile-probe`, an ordinary one by `stagerun check`.

import Foundation

func dockerfiles(_ laboratory: Laboratory) throws -> [Finding] {
    let probe = (CommandLine.arguments[0] as NSString).deletingLastPathComponent + "/dockerfile-probe"
    let output = try run([probe]).output
    guard let numbers = try JSONSerialization.jsonObject(with: Data(output.utf8)) as? [String: Double],
        let short = numbers["short_ms"], let long = numbers["long_ms"], let ratio = numbers["line_ratio"]
    else { throw BenchError("dockerfile-probe said \(output)") }
    var thousand = Finding(benchmark: "parse, check and lower 1,000 lines", stagerun: short)
    thousand.bar = 5
    var hundredThousand = Finding(benchmark: "parse, check and lower 100,000 lines", stagerun: long)
    hundredThousand.bar = 1.3
    hundredThousand.barValue = ratio

    let place = try laboratory.scratch("check")
    let text = """
        FROM golang:1.22 AS build
        WORKDIR /src
        COPY go.mod go.sum ./
        RUN go mod download
        COPY . .
        RUN go build -o /out/app ./cmd/app
        FROM alpine:3.19
        COPY --from=build /out/app /usr/local/bin/app
        USER 1000
        EXPOSE 8080
        ENTRYPOINT ["app"]
        """
    try text.write(toFile: place + "/Dockerfile", atomically: false, encoding: .utf8)
    try ".git\n".write(toFile: place + "/.dockerignore", atomically: false, encoding: .utf8)
    var mine: [Usage] = []
    var floor: [Usage] = []
    for _ in 0..<51 {
        mine.append(try run([laboratory.binary, "check", place], environment: laboratory.storeEnvironment))
        floor.append(try run(["/bin/true"]))
    }
    var check = Finding(benchmark: "stagerun check, whole process", stagerun: median(mine.map(\.wall)))
    check.floors["spawn of /bin/true"] = median(floor.map(\.wall))
    check.bar = 10
    return [thousand, hundredThousand, check]
}
