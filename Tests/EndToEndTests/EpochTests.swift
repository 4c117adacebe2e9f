// SOURCE_DATE_EPOCH: images and files of one time, whenever they are built.

import Foundation
import Testing

extension EndToEnd {
    @Suite(.serialized) struct Epoch {
        init() async throws { try await Lab.busybox() }

        @Test func theTimeOfFilesAndImage() async throws {
            let context = try scratchDirectory(
                "epoch",
                [
                    "Dockerfile": "FROM scratch\nWORKDIR /w\nCOPY d /d\nCOPY --link d/f /link/f\nCMD []\n",
                    "d/f": UUID().uuidString,
                ])
            let place = try scratchDirectory("epoch-out")
            var images: [String] = []
            for (epoch, name) in [("1000000000", "a"), ("1000000000", "b"), ("1200000000", "c")] {
                images.append(
                    try await Lab.imageID(
                        "--build-arg", "SOURCE_DATE_EPOCH=\(epoch)", "--no-cache", "-t", "epoch:\(name)", "-o",
                        "type=tar,dest=\(place)/\(name).tar", context))
                try expectSuccess(try await command("touch", context + "/d/f"))
                let listed = try await command(
                    "sh", "-c",
                    "TZ=UTC tar -tvf \(place)/\(name).tar | grep -v ' \\./$' | awk '{print $4\"T\"$5}' | sort -u")
                let expected = epoch == "1000000000" ? "2001-09-09T01:46" : "2008-01-10T21:20"
                #expect(listed.output == expected + "\n", "\(listed)")
            }
            #expect(images[0] == images[1] && images[0] != images[2])
            let inspected = try await Lab.stagerun("inspect", "epoch:a")
            #expect(inspected.output.contains("2001-09-09T01:46:40Z"), "\(inspected)")
            let plain = try await Lab.imageID(context)
            #expect(!images.contains(plain))
            // A directory has no time of its own, so that it is as if nothing was said.
            let ours = try await Lab.imageID("--build-arg", "SOURCE_DATE_EPOCH=context", context)
            #expect(ours == plain)
            let planned = try await Lab.stagerun("plan", context, environment: ["SOURCE_DATE_EPOCH": "context"])
            try expectSuccess(planned)
            let wrong = try await Lab.stagerun("build", context, environment: ["SOURCE_DATE_EPOCH": "soon"])
            #expect(wrong.status == 1 && wrong.errors.contains("invalid SOURCE_DATE_EPOCH"), "\(wrong)")
        }

        @Test func theTimeOfWhatItIsBuiltFrom() async throws {
            let files = try scratchDirectory("epoch-sources", ["d/f": "f\n", "d/g": "g\n", "t.txt": "t\n"])
            for (name, time) in [
                ("d/f", "2001-02-03 04:05:06"), ("d/g", "2003-02-03 04:05:06"), ("t.txt", "2005-02-03 04:05:06"),
            ] {
                try expectSuccess(try await command("touch", "-d", time + " UTC", "\(files)/\(name)"))
            }
            let context = try scratchDirectory("epoch-context", ["Dockerfile": "FROM scratch\nCOPY . /\n"])
            try expectSuccess(try await command("tar", "-czf", files + "/t.tar.gz", "-C", files + "/d", "."))
            try expectSuccess(try await command("cp", context + "/Dockerfile", files + "/Dockerfile"))
            try await WebServer.with(files) { server in
                try
                    "FROM scratch\nCOPY . /\nFROM scratch AS timed\nARG W=none\nADD \(server.address)/$W /\nFROM scratch AS more\nRUN x\nFROM scratch\nCOPY Dockerfile /\n"
                    .write(toFile: context + "/Dockerfile", atomically: false, encoding: .utf8)
                func created(_ arguments: String...) async throws -> String {
                    let id = try await RunningCommand(
                        [Lab.binary, "build", "-q"] + arguments, environment: ["STAGERUN_ROOT": Lab.store]
                    ).wait()
                    try expectSuccess(id)
                    let name = id.output.trimmingCharacters(in: .whitespacesAndNewlines)
                    return try await Lab.stagerun("inspect", name).output
                }
                let stage = try await created(
                    "--build-arg", "SOURCE_DATE_EPOCH=timed", "--build-arg", "W=t.txt", context)
                #expect(stage.contains("2005-02-03T04:05:06Z"), "\(stage)")
                let archive = try await created(
                    "--build-arg", "SOURCE_DATE_EPOCH=context", "-f", context + "/Dockerfile", "--target", "timed",
                    "--build-arg", "W=t.txt",
                    files + "/t.tar.gz")
                #expect(archive.contains("2003-02-03T04:05:06Z"), "\(archive)")
                let named = try await created(
                    "--build-arg", "SOURCE_DATE_EPOCH=Other", "--build-context", "other=\(server.address)/t.txt",
                    context)
                #expect(named.contains("2005-02-03T04:05:06Z"), "\(named)")
                let unfit = try await Lab.stagerun(
                    "build", "--build-arg", "SOURCE_DATE_EPOCH=more", context)
                #expect(unfit.status == 1 && unfit.errors.contains("may have nothing but ARG and one ADD"), "\(unfit)")
                #expect(unfit.errors.contains("Dockerfile:7"), "\(unfit)")
            }
        }

        /// The committer's time, whatever the author's is.
        @Test func theTimeOfACommit() async throws {
            let script = """
                git init -q -b main repo; cd repo; mkdir d; echo 1 > d/a; printf 'FROM scratch\\nCOPY . /\\n' > Dockerfile
                cp Dockerfile d; git add .; git commit -qm one; git tag -am t v1
                GIT_COMMITTER_DATE=2004-05-06T07:08:09Z git commit -q --allow-empty -m two
                """
            try await GitServer.with(script) { server in
                let repository = server.address("repo")
                let main = try scratchDirectory(
                    "epoch-git",
                    [
                        "Dockerfile": """
                        FROM scratch AS from-git
                        ARG REF=main
                        ADD \(repository)#$REF /
                        FROM scratch
                        COPY Dockerfile /
                        """
                    ])
                let (first, second) = ("2001-02-03T04:05:06Z", "2004-05-06T07:08:09Z")
                for (arguments, expected) in [
                    (["SOURCE_DATE_EPOCH=context", repository], second),
                    (["SOURCE_DATE_EPOCH=context", repository + "#v1:d"], first),
                    (["SOURCE_DATE_EPOCH=from-git", main], second),
                    (["SOURCE_DATE_EPOCH=From-Git", "--build-arg", "REF=v1", main], first),
                    (["SOURCE_DATE_EPOCH=src", "--build-context", "src=\(repository)?keep-git-dir#v1", main], first),
                ] {
                    let place = try scratchDirectory("epoch-git-out")
                    let built = try await Lab.start(
                        ["build", "-q", "-o", "type=tar,dest=\(place)/x.tar", "--build-arg"] + arguments
                    ).wait()
                    try expectSuccess(built)
                    let id = built.output.trimmingCharacters(in: .whitespacesAndNewlines)
                    let inspected = try await Lab.stagerun("inspect", id)
                    #expect(inspected.output.contains("\"Created\": \"\(expected)\""), "\(arguments) \(inspected)")
                    let listed = try await command(
                        "sh", "-c",
                        "TZ=UTC tar --full-time -tvf \(place)/x.tar Dockerfile | awk '{print $4\"T\"$5\"Z\"}'")
                    #expect(listed.output == expected + "\n", "\(arguments) \(listed)")
                }
            }
        }

        /// An archive without a time of its own has its newest file's. One that breaks off has none to be believed.
        @Test func theTimeOfABrokenArchive() async throws {
            let files = try scratchDirectory("epoch-broken", ["f": "f\n", "none": "no archive\n"])
            let pack = "touch -d '2001-02-03 04:05:06 UTC' f && head -c 200000 /dev/urandom > r && touch -d @5 r"
            try expectSuccess(
                try await command(
                    "sh", "-c", "\(pack) && tar -czf whole.tar.gz f r && head -c 90000 whole.tar.gz > cut.tar.gz",
                    directory: files))
            try await WebServer.with(files) { server in
                func build(_ name: String) async throws -> Outcome {
                    let main = try scratchDirectory(
                        "epoch-broken",
                        [
                            "Dockerfile":
                                "FROM scratch AS s\nADD \(server.address)/untimed/\(name) /\nFROM scratch\nCOPY Dockerfile /\n"
                        ])
                    return try await Lab.stagerun("build", "-q", "--build-arg", "SOURCE_DATE_EPOCH=s", main)
                }
                let whole = try await build("whole.tar.gz")
                try expectSuccess(whole)
                let id = whole.output.trimmingCharacters(in: .whitespacesAndNewlines)
                #expect(try await Lab.stagerun("inspect", id).output.contains("2001-02-03T04:05:06Z"))
                try expectSuccess(try await build("none"))
                let cut = try await build("cut.tar.gz")
                #expect(cut.status == 1, "\(cut)")
                #expect(
                    cut.errors.contains("untimed/cut.tar.gz, which SOURCE_DATE_EPOCH takes its time from"), "\(cut)")
            }
        }
    }
}
