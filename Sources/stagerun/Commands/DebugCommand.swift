// `stagerun debug`: what the parser, the expansion and the ignore rules make of a text, for editors and for tests that
// compare builders. The request comes on standard input, the answer is one JSON object; nothing else is touched.

import ArgumentParser
import FoundationEssentials
import Glibc
import StageContext
import StageDockerfile
import StageRun
import StageSystem

struct DebugCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "debug", abstract: "Show what a text means: parse, check, expand, ignore.",
        discussion: "Example:\n  stagerun debug parse < Dockerfile",
        subcommands: [DebugParse.self, DebugCheck.self, DebugExpand.self, DebugIgnore.self])
}

/// A text that is refused: a message on standard error, and exit status 1.
private struct Refusal: Error {
    let message: String
}

private protocol DebugSubcommand: StageCommand {
    /// The answer to a request; nil says nothing but that all is well.
    func answer(_ request: [UInt8]) throws(Refusal) -> JSONText?
}

extension DebugSubcommand {
    func execute(_ surroundings: Surroundings) async throws -> Int32 {
        let request: [UInt8]
        do throws(SystemError) { request = try readToEnd(STDIN_FILENO, limit: 64 << 20) } catch {
            throw UsageError("cannot read standard input: \(error.reason)")
        }
        do throws(Refusal) {
            guard let answer = try answer(request) else { return 0 }
            try? surroundings.output.write(answer.compact + "\n")
            return 0
        } catch {
            try? surroundings.error.write(displayable(error.message) + "\n")
            return 1
        }
    }

    fileprivate func decoded<R: Decodable>(_ type: R.Type, _ request: [UInt8]) throws(Refusal) -> R {
        do { return try JSONDecoder().decode(type, from: Data(request)) } catch {
            throw Refusal(message: "the request is not the JSON object that this takes: see stagerun debug --help")
        }
    }
}

struct DebugParse: DebugSubcommand {
    static let configuration = CommandConfiguration(
        commandName: "parse", abstract: "The instructions of a Dockerfile as they are written, as JSON.")

    fileprivate func answer(_ request: [UInt8]) throws(Refusal) -> JSONText? {
        let instructions: [Instruction]
        do throws(DockerfileError) { instructions = try Dockerfile.parseSyntax(request, file: "Dockerfile") } catch {
            throw Refusal(message: error.rendered(source: request))
        }
        return .members(["instructions": .array(instructions.map(Self.document))])
    }

    private static func document(_ instruction: Instruction) -> JSONText {
        // Of what it does not know, docker's parser reads nothing but the name, and leaves one empty argument.
        let arguments = instruction.isKnown ? instruction.arguments.map(\.text) : [""]
        var members: [JSONText.Member] = [
            .init(key: "cmd", value: .string(instruction.name)),
            .init(key: "flags", value: .strings(instruction.flags.map(\.text))),
            .init(key: "args", value: .strings(arguments)),
            .init(key: "json", value: .bool(instruction.isJSON)),
            .init(
                key: "lines",
                value: .array([
                    .number(Int64(instruction.range.firstLine)), .number(Int64(instruction.range.lastLine)),
                ])),
            .init(key: "heredocs", value: .array(instruction.heredocs.map(document))),
        ]
        if var trigger = instruction.trigger.first {
            // The heredocs are the instruction's, and so are the lines.
            trigger.heredocs = []
            trigger.range = instruction.range
            members.append(.init(key: "sub", value: document(trigger)))
        }
        return .object(members)
    }

    private static func document(_ heredoc: Heredoc) -> JSONText {
        .members([
            "name": .string(heredoc.name), "content": .string(heredoc.content), "expand": .bool(heredoc.expands),
            "chomp": .bool(heredoc.chomps), "fd": .number(Int64(clamping: heredoc.descriptor)),
        ])
    }
}

struct DebugCheck: DebugSubcommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Whether a Dockerfile is right in itself, by the exit status.")

    fileprivate func answer(_ request: [UInt8]) throws(Refusal) -> JSONText? {
        do throws(DockerfileError) { _ = try Dockerfile.parse(request, file: "Dockerfile") } catch {
            throw Refusal(message: error.rendered(source: request))
        }
        return nil
    }
}

struct DebugExpand: DebugSubcommand {
    static let configuration = CommandConfiguration(
        commandName: "expand", abstract: "A word with its variables replaced.",
        discussion: #"The request: {"word": "${a:-b}", "env": {"a": "1"}}, with "split": true for words."#)

    private struct Request: Decodable {
        var word: String
        var env: [String: String]?
        var split: Bool?
    }

    fileprivate func answer(_ request: [UInt8]) throws(Refusal) -> JSONText? {
        let request = try decoded(Request.self, request)
        do throws(ExpansionError) {
            let result = try Expansion().expand(request.word, request.env ?? [:])
            if request.split == true { return .members(["words": .strings(result.words)]) }
            return .members([
                "value": .string(result.value), "matched": .strings(result.matched.sorted()),
                "unmatched": .strings(result.unmatched.sorted()),
            ])
        } catch { throw Refusal(message: error.message) }
    }
}

struct DebugIgnore: DebugSubcommand {
    static let configuration = CommandConfiguration(
        commandName: "ignore", abstract: "Whether patterns ignore a path, or the patterns of an ignore file.",
        discussion: #"The request: {"patterns": ["*.o"], "path": "a.o"}, or {"content": "*.o\n"}."#)

    private struct Request: Decodable {
        var patterns: [String]?
        var path: String?
        var content: String?
    }

    fileprivate func answer(_ request: [UInt8]) throws(Refusal) -> JSONText? {
        let request = try decoded(Request.self, request)
        if let content = request.content {
            let patterns = IgnoreRules.patterns(in: Array(content.utf8))
            return .members(["patterns": .strings(patterns.map { String(decoding: $0, as: UTF8.self) })])
        }
        guard let patterns = request.patterns, let path = request.path else {
            throw Refusal(message: "the request needs patterns and path, or content")
        }
        do throws(IgnoreError) {
            let rules = try IgnoreRules(patterns: patterns.map { Array($0.utf8) })
            return .members(["ignored": .bool(rules.isIgnored(Array(path.utf8), isDirectory: false))])
        } catch { throw Refusal(message: error.description) }
    }
}
