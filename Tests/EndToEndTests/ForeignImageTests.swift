// Images that others made, as bases.

import Foundation
import Testing

extension EndToEnd {
    @Suite(.serialized) struct ImagesFromOthers {
        init() async throws { try await Lab.busybox() }

        /// An image that buildah made, with a layer that deletes a file of the layer below.
        private func withForeignImage(_ transport: String, _ body: (String) async throws -> Void) async throws {
            let place = try scratchDirectory("foreign")
            let buildah = try Buildah()
            do {
                try expectSuccess(try await Lab.stagerun("save", "-o", "\(place)/alpine.tar", "alpine:3.19"))
                let identifier = try await buildah("pull", "--quiet", "docker-archive:\(place)/alpine.tar")
                try await buildah("tag", identifier, "localhost/alpine:3.19")
                let context = try scratchDirectory(
                    "foreign-context",
                    [
                        "Dockerfile":
                            "FROM alpine:3.19\nENV MADE_BY=buildah\nRUN echo foreign > /foreign && rm /bin/vi\n"
                    ])
                try await buildah.build("-t", "localhost/foreign:1", context)
                try await buildah("push", "--quiet", "localhost/foreign:1", "\(transport):\(place)/it:foreign:1")
                try await body("\(place)/it")
            } catch {
                await buildah.close()
                throw error
            }
            await buildah.close()
        }

        private func expectItWorksAsABase(_ name: String) async throws {
            let context = try scratchDirectory(
                "on-foreign",
                [
                    "Dockerfile": """
                    FROM \(name)
                    RUN [ "$(cat /foreign)" = foreign ] && [ ! -e /bin/vi ] && echo "on $MADE_BY" > /mine
                    CMD ["cat", "/mine"]
                    """
                ])
            try expectSuccess(try await Lab.stagerun("build", "-t", "on-foreign", context))
            let said = try await Lab.stagerun("run", "--rm", "on-foreign")
            #expect(said.output == "on buildah\n", "\(said)")
        }

        @Test(arguments: ["docker-archive", "oci-archive"])
        func aLoadedArchiveIsABase(transport: String) async throws {
            try await withForeignImage(transport) { archive in
                try await Lab.stagerun("rmi", "foreign:1")
                let loaded = try await Lab.stagerun("load", "-i", archive)
                try expectSuccess(loaded)
                try await expectItWorksAsABase("foreign:1")
            }
        }

        @Test func aPulledImageIsABaseAndItsLayersComeOutByteForByte() async throws {
            try await withForeignImage("oci-archive") { archive in
                try await Registry.with { registry in
                    try await registry.push("oci-archive:\(archive)", as: "team/foreign:1")
                    let name = "\(registry.address)/team/foreign:1"
                    try expectSuccess(try await Lab.stagerun("pull", name))
                    try await expectItWorksAsABase(name)

                    let out = try scratchDirectory("passed-on") + "/layout"
                    let same = try scratchDirectory("same", ["Dockerfile": "FROM \(name)\nLABEL a=b\n"])
                    try expectSuccess(
                        try await Lab.stagerun("build", "-o", "type=oci,dest=\(out),tar=false", same))
                    let given = try await layers("oci-archive:\(archive)")
                    let passedOn = try await layers("oci:\(out)")
                    #expect(!given.isEmpty)
                    #expect(passedOn == given)
                }
            }
        }

        /// Named in FROM and not in the store: it is fetched on the way.
        @Test func fromPullsWhatIsNotThere() async throws {
            try await withForeignImage("oci-archive") { archive in
                try await Registry.with { registry in
                    try await registry.push("oci-archive:\(archive)", as: "team/other:1")
                    try await expectItWorksAsABase("\(registry.address)/team/other:1")
                }
            }
        }

        /// The SHA-256 of each layer's uncompressed archive.
        private func layers(_ reference: String) async throws -> [String] {
            let rootfs = try await imageConfig(reference)["rootfs"] as? [String: Any]
            return try #require(rootfs?["diff_ids"] as? [String])
        }
    }
}
