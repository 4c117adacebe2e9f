// Whole Dockerfiles of the kind people write, lowered to golden text.

import Testing

@testable import StageDockerfile

@Suite struct ExampleTests {
    private static let path = "PATH=\(StageState.defaultPath)"

    private func expect(_ text: String, target: String? = nil, _ expected: String) throws {
        var bench = Bench()
        bench.options.target = target
        let golden = try bench.graph(text).golden.replacing(Self.path, with: "PATH")
        #expect(golden == expected)
    }

    @Test func singleStage() throws {
        try expect(
            """
            FROM golang:1.22
            WORKDIR /app
            COPY . .
            RUN go build -o server .
            CMD ["./server"]
            """,
            """
            #1 FROM golang:1.22 => image golang:1.22
            #2(#1) [stage-0 2/4] WORKDIR /app => mkdir /app
            #3 load build context => context ''
            #4(#2,#3) [stage-0 3/4] COPY . . => copy 1:. -> /app/ reset
            #5(#4) [stage-0 4/4] RUN go build -o server . => run ["/bin/sh", "-c", "go build -o server ."] env ["PATH"] in /app
            target #5 base golang:1.22 linux/amd64
            env ["PATH"]
            workdir /app
            cmd ["./server"]
            history #2 WORKDIR /app
            history #4 COPY . . # buildkit
            history #5 RUN /bin/sh -c go build -o server . # buildkit
            history - CMD ["./server"]
            context '' ["."]
            """)
    }

    private static let builder = """
        # Stage 1: Build
        FROM golang:1.22 AS builder
        WORKDIR /app
        COPY go.mod go.sum ./
        RUN go mod download
        COPY . .
        RUN CGO_ENABLED=0 GOOS=linux go build -o server .
        # Stage 2: Run

        """

    private static let builderSteps = """
        #1 FROM golang:1.22 => image golang:1.22
        #2(#1) [builder 2/6] WORKDIR /app => mkdir /app
        #3 load build context => context ''
        #4(#2,#3) [builder 3/6] COPY go.mod go.sum ./ => copy 1:go.mod 1:go.sum -> /app/ reset
        #5(#4) [builder 4/6] RUN go mod download => run ["/bin/sh", "-c", "go mod download"] env ["PATH"] in /app
        #6(#5,#3) [builder 5/6] COPY . . => copy 1:. -> /app/ reset
        #7(#6) [builder 6/6] RUN CGO_ENABLED=0 GOOS=linux go build -o server . => run ["/bin/sh", "-c", "CGO_ENABLED=0 GOOS=linux go build -o server ."] env ["PATH"] in /app

        """

    @Test func twoStages() throws {
        try expect(
            Self.builder + """
                FROM alpine:3.19
                WORKDIR /app
                COPY --from=builder /app/server .
                CMD ["./server"]
                """,
            Self.builderSteps + """
                #8 FROM alpine:3.19 => image alpine:3.19
                #9(#8) [stage-1 2/3] WORKDIR /app => mkdir /app
                #10(#9,#7) [stage-1 3/3] COPY --from=builder /app/server . => copy 1:app/server -> /app/
                target #10 base alpine:3.19 linux/amd64
                env ["PATH"]
                workdir /app
                cmd ["./server"]
                history #9 WORKDIR /app
                history #10 COPY /app/server . # buildkit
                history - CMD ["./server"]
                context '' ["go.mod", "go.sum", "."]
                """)
    }

    @Test func scratchStage() throws {
        try expect(
            Self.builder + """
                FROM scratch
                COPY --from=builder /app/server /server
                COPY --from=builder /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
                CMD ["/server"]
                """,
            Self.builderSteps + """
                #8 FROM scratch => scratch
                #9(#8,#7) [stage-1 1/2] COPY --from=builder /app/server /server => copy 1:app/server -> /server
                #10(#9,#7) [stage-1 2/2] COPY --from=builder /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ => copy 1:etc/ssl/certs/ca-certificates.crt -> /etc/ssl/certs/
                target #10 base scratch linux/amd64
                env ["PATH"]
                workdir /
                cmd ["/server"]
                history #9 COPY /app/server /server # buildkit
                history #10 COPY /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ # buildkit
                history - CMD ["/server"]
                context '' ["go.mod", "go.sum", "."]
                """)
    }

    @Test func node() throws {
        try expect(
            """
            FROM node:20-alpine AS builder
            WORKDIR /app
            COPY package*.json ./
            RUN npm ci
            COPY . .
            RUN npm run build
            FROM node:20-alpine AS runner
            ENV NODE_ENV=production
            WORKDIR /app
            COPY --from=builder /app/package*.json ./
            RUN npm ci --omit=dev
            COPY --from=builder /app/dist ./dist
            CMD ["node", "dist/index.js"]
            """,
            """
            #1 FROM node:20-alpine => image node:20-alpine
            #2(#1) [builder 2/6] WORKDIR /app => mkdir /app
            #3 load build context => context ''
            #4(#2,#3) [builder 3/6] COPY package*.json ./ => copy 1:package*.json -> /app/ reset
            #5(#4) [builder 4/6] RUN npm ci => run ["/bin/sh", "-c", "npm ci"] env ["PATH"] in /app
            #6(#5,#3) [builder 5/6] COPY . . => copy 1:. -> /app/ reset
            #7(#6) [builder 6/6] RUN npm run build => run ["/bin/sh", "-c", "npm run build"] env ["PATH"] in /app
            #8(#1) [runner 2/5] WORKDIR /app => mkdir /app
            #9(#8,#7) [runner 3/5] COPY --from=builder /app/package*.json ./ => copy 1:app/package*.json -> /app/
            #10(#9) [runner 4/5] RUN npm ci --omit=dev => run ["/bin/sh", "-c", "npm ci --omit=dev"] env ["PATH", "NODE_ENV=production"] in /app
            #11(#10,#7) [runner 5/5] COPY --from=builder /app/dist ./dist => copy 1:app/dist -> /app/dist
            target #11 base node:20-alpine linux/amd64
            env ["PATH", "NODE_ENV=production"]
            workdir /app
            cmd ["node", "dist/index.js"]
            history - ENV NODE_ENV=production
            history #8 WORKDIR /app
            history #9 COPY /app/package*.json ./ # buildkit
            history #10 RUN /bin/sh -c npm ci --omit=dev # buildkit
            history #11 COPY /app/dist ./dist # buildkit
            history - CMD ["node" "dist/index.js"]
            context '' ["package*.json", "."]
            """)
    }

    private static let four = """
        FROM golang:1.22 AS deps
        WORKDIR /app
        COPY go.mod go.sum ./
        RUN go mod download
        FROM deps AS test
        COPY . .
        RUN go test ./...
        FROM deps AS builder
        COPY . .
        RUN go build -o server .
        FROM alpine:3.19 AS production
        COPY --from=builder /app/server /server
        CMD ["/server"]
        """

    @Test func fourStagesToTest() throws {
        try expect(
            Self.four, target: "test",
            """
            #1 FROM golang:1.22 => image golang:1.22
            #2(#1) [deps 2/4] WORKDIR /app => mkdir /app
            #3 load build context => context ''
            #4(#2,#3) [deps 3/4] COPY go.mod go.sum ./ => copy 1:go.mod 1:go.sum -> /app/ reset
            #5(#4) [deps 4/4] RUN go mod download => run ["/bin/sh", "-c", "go mod download"] env ["PATH"] in /app
            #6(#5,#3) [test 1/2] COPY . . => copy 1:. -> /app/ reset
            #7(#6) [test 2/2] RUN go test ./... => run ["/bin/sh", "-c", "go test ./..."] env ["PATH"] in /app
            target #7 base golang:1.22 linux/amd64
            env ["PATH"]
            workdir /app
            history #2 WORKDIR /app
            history #4 COPY go.mod go.sum ./ # buildkit
            history #5 RUN /bin/sh -c go mod download # buildkit
            history #6 COPY . . # buildkit
            history #7 RUN /bin/sh -c go test ./... # buildkit
            skipped builder (2)
            skipped production (2)
            context '' ["go.mod", "go.sum", "."]
            """)
    }

    @Test func fourStagesToProduction() throws {
        var bench = Bench()
        bench.options.target = "production"
        let outcome = try bench.lower(Self.four)
        #expect(outcome.graph.skippedStages.map(\.name) == ["test"])
        #expect(Set(outcome.graph.steps.map(\.stage)) == ["", "deps", "builder", "production"])
        #expect(outcome.rounds == [["alpine:3.19", "golang:1.22"]])
        bench.options.target = "deps"
        #expect(try bench.lower(Self.four).rounds == [["golang:1.22"]])
    }
}
