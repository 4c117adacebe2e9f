import Testing

@testable import StageDockerfile

@Test func smoke() throws {
    let text = """
        # syntax=docker/dockerfile:1
        ARG V=1.22
        FROM golang:$V AS builder
        WORKDIR /app
        COPY go.mod go.sum ./
        RUN go mod download
        COPY . .
        ARG A=1
        RUN CGO_ENABLED=0 \\
            go build -o server .
        FROM alpine:3.19
        WORKDIR /app
        COPY --from=builder /app/server .
        CMD ["./server"]
        """
    let out = try Bench().lower(text)
    print(out.rounds, out.warnings)
    print(out.graph.golden)
    print(Bench().rendered("FROM a\nRUNN x"))
    print(Bench().rendered("FROM a\nCOPY --form=x a b"))
}
