// `--progress`: which reader of the build's events the person gets.

import ArgumentParser

/// How a build shows itself.
enum ProgressMode: String, CaseIterable, Sendable {
    /// Live where standard error is a terminal that can move its cursor, else plain.
    case auto
    case tty
    case plain
    case json
    case quiet

    /// What `auto` means here; `--quiet` wins over everything.
    func resolved(quiet: Bool, isTerminal: Bool, terminalType: String?) -> ProgressMode {
        if quiet { return .quiet }
        guard self == .auto else { return self }
        return isTerminal && terminalType != "dumb" ? .tty : .plain
    }
}

extension ProgressMode: ExpressibleByArgument {}
