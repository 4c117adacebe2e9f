// Docker's reference grammar as tables: what is accepted and how it is normalised, what is refused and where.

import StageGraph
import StageHash
import Testing

private let hex = String(repeating: "0123456789abcdef", count: 4)

@Suite struct ImageReferenceTests {
    struct Accepted: Sendable, CustomTestStringConvertible {
        var text: String
        var registry: String
        var repository: String
        var tag: String?
        var digest: Bool
        var familiar: String
        var testDescription: String { text }

        init(
            _ text: String, _ registry: String, _ repository: String, _ tag: String?, digest: Bool = false,
            familiar: String? = nil
        ) {
            self.text = text
            self.registry = registry
            self.repository = repository
            self.tag = tag
            self.digest = digest
            self.familiar = familiar ?? text
        }
    }

    static let accepted: [Accepted] = [
        .init("golang:1.22", "docker.io", "library/golang", "1.22"),
        .init("golang", "docker.io", "library/golang", "latest", familiar: "golang:latest"),
        .init("library/golang:1", "docker.io", "library/golang", "1", familiar: "golang:1"),
        .init("docker.io/golang:1", "docker.io", "library/golang", "1", familiar: "golang:1"),
        .init("docker.io/library/golang:1", "docker.io", "library/golang", "1", familiar: "golang:1"),
        .init("index.docker.io/golang:1", "docker.io", "library/golang", "1", familiar: "golang:1"),
        .init("DOCKER.IO/golang:1", "docker.io", "library/golang", "1", familiar: "golang:1"),
        .init("index.docker.io/me/app:1", "docker.io", "me/app", "1", familiar: "me/app:1"),
        .init("me/app:1", "docker.io", "me/app", "1"),
        .init("library/a/b:1", "docker.io", "library/a/b", "1"),
        .init("a/b/c/d:1", "docker.io", "a/b/c/d", "1"),
        .init("localhost/app:1", "localhost", "app", "1"),
        .init("LocalHost/app:1", "localhost", "app", "1", familiar: "localhost/app:1"),
        .init("localhost:5000/x/y:1", "localhost:5000", "x/y", "1"),
        .init("localhost:5000", "docker.io", "library/localhost", "5000"),
        .init("127.0.0.1:5000/x:1", "127.0.0.1:5000", "x", "1"),
        .init("[::1]:5000/x:1", "[::1]:5000", "x", "1"),
        .init("[2001:DB8::1]/x:1", "[2001:db8::1]", "x", "1", familiar: "[2001:db8::1]/x:1"),
        .init(
            "Registry.Example.COM:443/x:1", "registry.example.com:443", "x", "1",
            familiar: "registry.example.com:443/x:1"),
        .init("ghcr.io/a-b/c_d/e__f/g.h/i---j:v1", "ghcr.io", "a-b/c_d/e__f/g.h/i---j", "v1"),
        .init("my-host.com/a:1", "my-host.com", "a", "1"),
        .init("docker.io/localhost/app:1", "docker.io", "localhost/app", "1"),
        .init("docker.io/my.org/app:1", "docker.io", "my.org/app", "1"),
        .init("a:_x", "docker.io", "library/a", "_x"),
        .init("a:V1.2-rc_3", "docker.io", "library/a", "V1.2-rc_3"),
        .init("a:" + String(repeating: "t", count: 128), "docker.io", "library/a", String(repeating: "t", count: 128)),
        .init("a@sha256:" + hex, "docker.io", "library/a", nil, digest: true),
        .init("a:1@sha256:" + hex, "docker.io", "library/a", "1", digest: true),
        .init("localhost:5000/x/y@sha256:" + hex, "localhost:5000", "x/y", nil, digest: true),
        .init("localhost:5000/x/y:t@sha256:" + hex, "localhost:5000", "x/y", "t", digest: true),
        .init("library/\(hex):1", "docker.io", "library/" + hex, "1"),
        .init("sha256:abc", "docker.io", "library/sha256", "abc"),
        .init("0:0", "docker.io", "library/0", "0"),
        .init(
            "x.io/" + String(repeating: "r", count: 255) + ":1", "x.io", String(repeating: "r", count: 255), "1"),
    ]

    @Test(arguments: accepted) func normalises(_ row: Accepted) throws {
        let reference = try ImageReference(row.text)
        #expect(reference.registry == row.registry)
        #expect(reference.repository == row.repository)
        #expect(reference.tag == row.tag)
        #expect(reference.digest == (row.digest ? Digest(hex) : nil))
        #expect(reference.familiar == row.familiar)
        #expect("\(reference)" == row.familiar)
        #expect(
            reference.canonical == row.registry + "/" + row.repository + (row.tag.map { ":" + $0 } ?? "")
                + (row.digest ? "@sha256:" + hex : ""))
        // Both forms are names of the same image.
        #expect(try ImageReference(reference.familiar) == reference)
        #expect(try ImageReference(reference.canonical) == reference)
    }

    struct Refused: Sendable, CustomTestStringConvertible {
        var text: String
        var problem: ImageReferenceError.Problem
        var column: Int
        var testDescription: String { String(text.prefix(60)) }

        init(_ text: String, _ problem: ImageReferenceError.Problem, _ column: Int = 1) {
            self.text = text
            self.problem = problem
            self.column = column
        }
    }

    static let refused: [Refused] = [
        .init("", .empty),
        .init(String(repeating: "a", count: 1025), .tooLong(bytes: 1025)),
        .init("https://ghcr.io/a", .scheme("https://")),
        .init("docker://alpine", .scheme("docker://")),
        .init(hex, .imageID),
        .init("sha256:" + hex, .imageID),
        .init("Golang:1.22", .upperCaseRepository),
        .init("goLang", .upperCaseRepository, 3),
        .init("Me/app", .upperCaseRepository),
        .init("ghcr.io/Me/app", .upperCaseRepository, 9),
        .init("localhost:5000/A", .upperCaseRepository, 16),
        .init("/a", .emptyPart(.repository)),
        .init("a/", .emptyPart(.repository), 3),
        .init("a//b", .emptyPart(.repository), 3),
        .init("ghcr.io/", .emptyPart(.repository), 9),
        .init(":1", .emptyPart(.repository)),
        .init("@sha256:" + hex, .emptyPart(.repository)),
        .init("a:", .emptyPart(.tag), 3),
        .init("a:@sha256:" + hex, .emptyPart(.tag), 3),
        .init("a@", .emptyPart(.digest), 3),
        .init(":5000/a", .emptyPart(.registry)),
        .init("a..b/c", .emptyPart(.registry), 3),
        .init(".b/c", .emptyPart(.registry)),
        .init("[]:5000/a", .emptyPart(.registry), 2),
        .init("a b", .character(.repository, " "), 2),
        .init(" a", .character(.repository, " "), 1),
        .init("a\n", .character(.repository, "\n"), 2),
        .init("a\u{0}b", .character(.repository, "\u{0}"), 2),
        .init("\u{1B}[2J", .character(.repository, "\u{1B}"), 1),
        .init("caf\u{E9}", .character(.repository, "\u{E9}"), 4),
        .init("a$b", .character(.repository, "$"), 2),
        .init("-a", .character(.repository, "-"), 1),
        .init("a-", .character(.repository, "-"), 2),
        .init("a.", .character(.repository, "."), 2),
        .init("_a", .character(.repository, "_"), 1),
        .init("a___b", .character(.repository, "_"), 4),
        .init("a..b", .character(.repository, "."), 3),
        .init("a._b", .character(.repository, "_"), 3),
        .init("a-.b", .character(.repository, "."), 3),
        .init("a/../b", .character(.repository, "."), 3),
        .init("ghcr.io/../b", .character(.repository, "."), 9),
        .init("../b", .emptyPart(.registry)),
        .init("a:b:c", .character(.tag, ":"), 4),
        .init("a:.b", .character(.tag, "."), 3),
        .init("a:-b", .character(.tag, "-"), 3),
        .init("a:b/c", .port("b"), 3),
        .init("x/a:b/c", .character(.tag, "/"), 6),
        .init("a:b c", .character(.tag, " "), 4),
        .init("a:" + String(repeating: "t", count: 129), .partTooLong(.tag, bytes: 129, limit: 128), 3),
        .init(
            "x.io/" + String(repeating: "r", count: 256), .partTooLong(.repository, bytes: 256, limit: 255), 6),
        .init(
            String(repeating: "h.", count: 127) + "h/a", .partTooLong(.registry, bytes: 255, limit: 253)),
        .init("-a.com/b", .character(.registry, "-"), 1),
        .init("a-.com/b", .character(.registry, "-"), 2),
        .init("a_b.com/b", .character(.registry, "_"), 2),
        .init("user@host.com/b", .digestHex, 6),
        .init("[::1/a", .character(.registry, "["), 1),
        .init("[::g]:1/a", .character(.registry, "g"), 4),
        .init("[::1]x/a", .character(.registry, "x"), 6),
        .init("[\(String(repeating: ":", count: 40))]/a", .partTooLong(.registry, bytes: 40, limit: 39), 2),
        .init("a:0/b", .port("0"), 3),
        .init("a:65536/b", .port("65536"), 3),
        .init("a:99999999999999999999/b", .port("99999999999999999999"), 3),
        .init("a:/b", .port(""), 3),
        .init("a:+1/b", .port("+1"), 3),
        .init("a.b:x/b", .port("x"), 5),
        .init("a@sha256:abc", .digestHex, 3),
        .init("a@" + hex, .digestHex, 3),
        .init("a@sha256:" + hex.uppercased(), .digestHex, 3),
        .init("a@sha256:\(hex)0", .digestHex, 3),
        .init("a@sha512:\(hex)\(hex)", .digestAlgorithm("sha512"), 3),
        .init("a@sha256:\(hex)@sha256:\(hex)", .digestHex, 3),
    ]

    @Test(arguments: refused) func refuses(_ row: Refused) {
        let error = #expect(throws: ImageReferenceError.self) { try ImageReference(row.text) }
        #expect(error?.problem == row.problem)
        #expect(error?.column == row.column)
        #expect(error?.text == row.text)
        // A sentence on one line, that a terminal does not act on.
        let sentence = "\(error.map { "\($0)" } ?? "")"
        #expect(sentence.hasPrefix("invalid image reference \""))
        #expect(sentence.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7F })
        #expect(sentence.utf8.count < 600)
    }

    @Test func upperCaseErrorOffersTheLowerCaseName() {
        let error = #expect(throws: ImageReferenceError.self) { try ImageReference("ghcr.io/Me/app:V1") }
        #expect(
            error?.description
                == "invalid image reference \"ghcr.io/Me/app:V1\": the repository has an upper-case letter at column 9; "
                + "repositories are lower case: \"ghcr.io/me/app:V1\"")
    }

    @Test func randomTextNeverCrashesAndWhatParsesRoundTrips() throws {
        var generator = SystemRandomNumberGenerator()
        let alphabet = "aZ09./:@-_[]% \u{E9}\n".map { String($0) } + ["sha256:", "localhost", "docker.io", "library/"]
        var parsed = 0
        for _ in 0..<20_000 {
            let length = Int.random(in: 0..<14, using: &generator)
            let text = (0..<length).compactMap { _ in alphabet.randomElement(using: &generator) }.joined()
            guard let reference = try? ImageReference(text) else { continue }
            parsed += 1
            #expect(try ImageReference(reference.canonical) == reference, "\(text)")
            #expect(try ImageReference(reference.familiar) == reference, "\(text)")
        }
        #expect(parsed > 100)
    }

    @Test func derivesNames() throws {
        let digest = try #require(Digest(hex))
        let reference = try ImageReference("golang:1.22")
        #expect(reference.with(digest: digest).familiar == "golang:1.22@sha256:" + hex)
        #expect(reference.with(digest: digest, keepingTag: false).familiar == "golang@sha256:" + hex)
        #expect(try reference.with(digest: digest).with(tag: "2").familiar == "golang:2")
        #expect(throws: ImageReferenceError.self) { try reference.with(tag: "a:b") }
        #expect(throws: ImageReferenceError.self) { try reference.with(tag: "") }
        #expect(reference.name == "docker.io/library/golang")
        #expect(reference.familiarName == "golang")
    }
}
