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
            let wrong = try await Lab.stagerun("build", context, environment: ["SOURCE_DATE_EPOCH": "soon"])
            #expect(wrong.status == 1 && wrong.errors.contains("invalid SOURCE_DATE_EPOCH"), "\(wrong)")
        }
    }
}
