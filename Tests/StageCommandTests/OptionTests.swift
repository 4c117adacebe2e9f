// The command line's values: spelled as docker spells them, and refused with advice when wrong.

import Glibc
import Testing

@testable import stagerun

@Suite struct OutputOptionTests {
    @Test(arguments: [
        ("-", OutputOption(kind: .tar, place: .standardOutput, asTar: true)),
        ("out", OutputOption(kind: .local, place: .path("out"), asTar: false)),
        ("a=b", OutputOption(kind: .local, place: .path("a=b"), asTar: false)),
        ("type=local,dest=out", OutputOption(kind: .local, place: .path("out"), asTar: false)),
        ("type=tar", OutputOption(kind: .tar, place: .standardOutput, asTar: true)),
        ("type=tar,dest=x.tar", OutputOption(kind: .tar, place: .path("x.tar"), asTar: true)),
        ("type=oci,dest=-", OutputOption(kind: .oci, place: .standardOutput, asTar: true)),
        ("type=oci,dest=layout,tar=false", OutputOption(kind: .oci, place: .path("layout"), asTar: false)),
        ("TYPE=oci,Dest=x", OutputOption(kind: .oci, place: .path("x"), asTar: true)),
        ("type=oci,\"dest=a,b\"", OutputOption(kind: .oci, place: .path("a,b"), asTar: true)),
        ("type=oci,\"dest=say \"\"x\"\"\"", OutputOption(kind: .oci, place: .path("say \"x\""), asTar: true)),
        ("type=docker,dest=a.tar", OutputOption(kind: .docker, place: .path("a.tar"), asTar: true)),
        ("type=docker,dest=-", OutputOption(kind: .docker, place: .standardOutput, asTar: true)),
        ("dest=x,tar=true", nil), ("type=local", nil), ("type=local,dest=-", nil), ("type=oci,tar=false", nil),
        ("type=oci,dest=x,tar=maybe", nil), ("type=docker", nil), ("type=docker,dest=x,tar=false", nil),
        ("type=oci,dest", nil), ("type=oci,\"dest=x", nil), ("type=oci,de\"st=x", nil), ("type=oci,\"dest=x\"y", nil),
        ("", nil), ("type=", nil), ("type=oci,dest=x,", nil),
    ])
    func forms(text: String, expected: OutputOption?) {
        #expect((try? OutputOption(parsing: text)) == expected)
    }

    @Test(arguments: [
        ("type=ocii,dest=x", "did you mean oci?"), ("type=oci,dset=x", "did you mean dest=?"),
        ("type=registry,name=x", "name= is not known"), ("type=registry", "skopeo"), ("type=image", "-t"),
        ("type=docker", "dest=FILE"), ("type=local", "dest=DIRECTORY"),
    ])
    func errorsSayWhatToDo(text: String, part: String) throws {
        let error = try #require(throws: UsageError.self) { try OutputOption(parsing: text) }
        #expect(error.message.contains(part), "\(error.message)")
    }
}

@Suite struct NameValueTests {
    @Test func aNameAloneTakesTheEnvironmentsValue() throws {
        let environment = ["SET": "1", "EMPTY": ""]
        func parse(_ text: String) throws(UsageError) -> NameValue? {
            try NameValue.inheriting(text, option: "--build-arg") { environment[$0] }
        }
        #expect(try parse("A=b=c") == NameValue(name: "A", value: "b=c"))
        #expect(try parse("A=") == NameValue(name: "A", value: ""))
        #expect(try parse("SET") == NameValue(name: "SET", value: "1"))
        #expect(try parse("EMPTY") == NameValue(name: "EMPTY", value: ""))
        #expect(try parse("UNSET") == nil)
        #expect(throws: UsageError.self) { try parse("=x") }
        #expect(throws: UsageError.self) { try parse("") }
    }

    @Test func aLabelAloneIsEmptyAndTheLastOneWins() throws {
        let labels = try ["a", "b=1", "b=2"].map { text throws(UsageError) in
            try NameValue.plain(text, option: "--label")
        }
        #expect(labels.dictionary == ["a": "", "b": "2"])
    }
}

@Suite struct StateDirectoryTests {
    @Test func theFirstThatIsSetWins() throws {
        func directory(_ option: String?, _ environment: [String: String], isRoot: Bool = false) throws -> String {
            try stateDirectory(option: option, isRoot: isRoot) { environment[$0] }
        }
        let all = ["STAGERUN_ROOT": "/s", "XDG_DATA_HOME": "/x", "HOME": "/h"]
        #expect(try directory("rel", all) == "rel")
        #expect(try directory(nil, all) == "/s")
        #expect(try directory(nil, all, isRoot: true) == "/s")
        #expect(try directory(nil, ["XDG_DATA_HOME": "/x/", "HOME": "/h"]) == "/x/stagerun")
        #expect(
            try directory(nil, ["STAGERUN_ROOT": "", "XDG_DATA_HOME": "x", "HOME": "/h"]) == "/h/.local/share/stagerun")
        #expect(try directory(nil, ["HOME": "/h"], isRoot: true) == "/var/lib/stagerun")
        #expect(throws: UsageError.self) { try directory(nil, [:]) }
        #expect(throws: UsageError.self) { try directory("", all) }
    }
}

@Suite struct VolumeOptionTests {
    @Test func forms() throws {
        #expect(try VolumeOption(parsing: "/a:/b") == VolumeOption(source: "/a", target: "/b"))
        #expect(try VolumeOption(parsing: "./a:/b:ro") == VolumeOption(source: "./a", target: "/b", isReadOnly: true))
        #expect(try VolumeOption(parsing: "/a:/b:rw,z") == VolumeOption(source: "/a", target: "/b"))
        for text in ["/a", "data:/b", "/a:b", "/a:/b:rx", ":/b", "", "/a:/b:ro:x"] {
            #expect(throws: UsageError.self, "\(text)") { try VolumeOption(parsing: text) }
        }
    }
}

@Suite struct ProgressModeTests {
    @Test func autoIsLiveOnlyOnATerminalThatMovesItsCursor() {
        func auto(_ isTerminal: Bool, _ type: String?) -> ProgressMode {
            ProgressMode.auto.resolved(quiet: false, isTerminal: isTerminal, terminalType: type)
        }
        #expect(auto(true, "xterm-256color") == .tty)
        #expect(auto(true, "dumb") == .plain)
        #expect(auto(false, "xterm") == .plain)
        #expect(ProgressMode.json.resolved(quiet: true, isTerminal: true, terminalType: nil) == .quiet)
        #expect(ProgressMode.tty.resolved(quiet: false, isTerminal: false, terminalType: nil) == .tty)
    }

    @Test func coloursFollowTheTerminalAndTheVariable() {
        #expect(wantsColours(isTerminal: true) { _ in nil })
        #expect(wantsColours(isTerminal: true) { $0 == "NO_COLOR" ? "" : nil })
        #expect(!wantsColours(isTerminal: true) { $0 == "NO_COLOR" ? "1" : nil })
        #expect(!wantsColours(isTerminal: false) { _ in nil })
    }
}

@Suite struct SignalTests {
    @Test(arguments: [(SIGINT, 130), (SIGTERM, 143), (SIGHUP, 129)] as [(CInt, Int32)])
    func theFirstCancelsTheSecondLeaves(signal: CInt, status: Int32) {
        #expect(signalAction(signal, earlier: 0, forwards: false) == .cancel(exit: status))
        #expect(signalAction(signal, earlier: 1, forwards: false) == .exitNow(status))
        #expect(signalAction(signal, earlier: 0, forwards: true) == .forward(signal))
    }

    @Test func otherSignals() {
        #expect(signalAction(SIGWINCH, earlier: 0, forwards: true) == .resize)
        #expect(signalAction(SIGUSR1, earlier: 0, forwards: true) == .forward(SIGUSR1))
        #expect(signalAction(SIGUSR1, earlier: 0, forwards: false) == .ignore)
    }

    @Test func aCancelledCommandRemembersItsStatus() {
        let interruption = Interruption()
        let (stream, continuation) = AsyncStream.makeStream(of: Void.self)
        interruption.onCancel { continuation.finish() }
        interruption.deliver(SIGTERM)
        #expect(interruption.requestedExit == 143)
        _ = stream
    }
}

@Suite struct WrittenFileTests {
    /// `--iidfile /dev/null` must never put a file in the place of the device: a pipe stands for it here.
    @Test func whatIsNoFileIsWrittenTo() throws {
        var template = Array("/tmp/stage-iid-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        let directory = template.withUnsafeBufferPointer { String(cString: $0.baseAddress.unsafelyUnwrapped) }
        defer { for name in ["pipe", "file", ""] { remove(directory + "/" + name) } }
        let pipe = directory + "/pipe"
        try #require(mkfifo(pipe, 0o600) == 0)
        let reader = open(pipe, O_RDWR | O_CLOEXEC)
        defer { close(reader) }
        try writeFile(pipe, "sha256:0")
        var buffer = [UInt8](repeating: 0, count: 16)
        let count = read(reader, &buffer, buffer.count)
        #expect(String(decoding: buffer[..<max(0, count)], as: UTF8.self) == "sha256:0")
        #expect(isSpecial(pipe))
        // A file is replaced whole.
        try writeFile(directory + "/file", "a longer text")
        try writeFile(directory + "/file", "short")
        #expect(!isSpecial(directory + "/file"))
        let file = open(directory + "/file", O_RDONLY | O_CLOEXEC)
        defer { close(file) }
        #expect(read(file, &buffer, buffer.count) == 5)
    }
}

@Suite struct StorageOptionTests {
    @Test(arguments: [
        ("20GB", 20_000_000_000), ("512MiB", 536_870_912), ("1.5g", 1_500_000_000), ("7", 7), ("0", 0),
        ("10 kB", 10_000),
        ("", nil), ("GB", nil), ("-1GB", nil), ("1XB", nil), ("1e400", nil), ("999999999TB", nil), ("1GB2", nil),
    ])
    func sizes(text: String, bytes: UInt64?) { #expect((try? sizeOption(text, option: "--keep-storage")) == bytes) }

    @Test(arguments: [
        ("24h", 86_400), ("1h30m", 5400), ("7d", 604_800), ("2w", 1_209_600), ("0s", 0), ("1.5h", 5400),
        ("", nil), ("24", nil), ("h", nil), ("-1h", nil), ("1h2", nil), ("1y", nil),
    ])
    func times(text: String, seconds: Double?) { #expect((try? durationOption(text, option: "--filter")) == seconds) }

    @Test func theOptionCountsBeforeTheVariableBeforeTheDisk() throws {
        func cap(_ option: String?, _ variable: String?, disk: UInt64) throws -> UInt64? {
            try storageCap(option: option, environment: { _ in variable }, filesystemSize: { disk })
        }
        #expect(try cap("1GB", "2GB", disk: 0) == 1_000_000_000)
        #expect(try cap(nil, "2GB", disk: 0) == 2_000_000_000)
        #expect(try cap(nil, "", disk: 1_000_000_000_000) == 200_000_000_000)
        #expect(try cap(nil, nil, disk: 20_000_000_000) == 10_000_000_000)
        #expect(try cap("none", "2GB", disk: 0) == nil)
        #expect(throws: UsageError.self) { try cap(nil, "much", disk: 0) }
    }
}
