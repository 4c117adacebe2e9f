// What something that is plugged in has to do: plain async functions that throw, for any test framework or none.
//
//     for requirement in ContentStoreRequirements.all {
//         try await requirement.check { try MyStore() }
//     }

/// A requirement that does not hold, in words.
public struct ConformanceFailure: Error, Hashable, CustomStringConvertible {
    /// The requirement's name.
    public let requirement: String
    /// What was found in place of what.
    public let reason: String

    public init(requirement: String, reason: String) {
        self.requirement = requirement
        self.reason = reason
    }

    public var description: String { "\"\(requirement)\" does not hold: \(reason)" }
}

/// One thing that every `Subject` does.
public struct Requirement<Subject>: Sendable, CustomStringConvertible {
    /// A sentence; unique in its suite.
    public let name: String
    private let body: @Sendable (Subject) async throws -> Void

    init(_ name: String, _ body: @escaping @Sendable (Subject) async throws -> Void) {
        self.name = name
        self.body = body
    }

    public var description: String { name }

    /// Checks a subject of its own, which `make` makes: new, and used by nobody else.
    ///
    /// - Throws: `ConformanceFailure`, also for an error of the subject's that should not have come.
    public func check(_ make: () async throws -> Subject) async throws(ConformanceFailure) {
        do { try await body(try await make()) } catch let failure as Mismatch {
            throw ConformanceFailure(requirement: name, reason: failure.reason)
        } catch {
            throw ConformanceFailure(requirement: name, reason: "there was an error: \(error)")
        }
    }
}

/// What a requirement's body throws; `check` gives it the requirement's name.
struct Mismatch: Error {
    let reason: String
}

func expect(_ condition: Bool, _ reason: @autoclosure () -> String) throws {
    if !condition { throw Mismatch(reason: reason()) }
}

func expectEqual<Value: Equatable>(
    _ found: Value, _ expected: Value, _ what: @autoclosure () -> String
) throws {
    if found != expected { throw Mismatch(reason: "\(what()): \(brief(found)) instead of \(brief(expected))") }
}

/// Long values by their beginning.
private func brief<Value>(_ value: Value) -> String {
    let text = String(describing: value)
    return text.utf8.count <= 200 ? text : String(text.prefix(200)) + "… (\(text.utf8.count) letters)"
}
