// `--chmod`: octal digits, or a symbolic mode as chmod(1) has it, with a umask of 0.

/// A change of permission bits.
public struct FileModeChange: Sendable, Hashable {
    private enum Form: Sendable, Hashable {
        case octal(UInt16)
        case clauses([Clause])
    }

    private struct Clause: Sendable, Hashable {
        /// Bits that the clause may change: 0o700, 0o070, 0o007 and their unions.
        var who: UInt16
        var action: UInt8
        /// `r`, `w`, `x`, `X`, `s`, `t`, or one of `u`, `g`, `o` to copy from.
        var permissions: [UInt8]
    }

    private let form: Form

    /// The whole mode, where it is given as a number.
    var number: UInt16? {
        if case .octal(let value) = form { return value }
        return nil
    }

    /// Nil when `text` is neither octal digits up to 7777 nor a symbolic mode.
    public init?(_ text: String) {
        if let octal = UInt16(text, radix: 8), octal <= 0o7777, text.utf8.allSatisfy({ (0x30...0x37).contains($0) }) {
            form = .octal(octal)
            return
        }
        var clauses: [Clause] = []
        for part in text.utf8.split(separator: 0x2C, omittingEmptySubsequences: false) {
            guard let parsed = Self.parse(part) else { return nil }
            clauses += parsed
        }
        form = .clauses(clauses)
    }

    private static func parse(_ part: Substring.UTF8View.SubSequence) -> [Clause]? {
        var rest = Array(part)[...]
        var who: UInt16 = 0
        while let byte = rest.first, let bits = whoBits(byte) {
            who |= bits
            rest.removeFirst()
        }
        if who == 0 { who = 0o777 }
        var clauses: [Clause] = []
        while let action = rest.first {
            guard action == UInt8(ascii: "+") || action == UInt8(ascii: "-") || action == UInt8(ascii: "=") else {
                return nil
            }
            rest.removeFirst()
            var permissions: [UInt8] = []
            while let byte = rest.first, "rwxXstugo".utf8.contains(byte) {
                permissions.append(byte)
                rest.removeFirst()
            }
            clauses.append(Clause(who: who, action: action, permissions: permissions))
        }
        return clauses.isEmpty ? nil : clauses
    }

    private static func whoBits(_ byte: UInt8) -> UInt16? {
        switch byte {
        case UInt8(ascii: "u"): 0o700
        case UInt8(ascii: "g"): 0o070
        case UInt8(ascii: "o"): 0o007
        case UInt8(ascii: "a"): 0o777
        default: nil
        }
    }

    /// The mode that `mode` becomes.
    public func applied(to mode: UInt16, isDirectory: Bool) -> UInt16 {
        switch form {
        case .octal(let value): value
        case .clauses(let clauses):
            clauses.reduce(mode) { mode, clause in Self.apply(clause, mode, isDirectory) }
        }
    }

    private static func apply(_ clause: Clause, _ mode: UInt16, _ isDirectory: Bool) -> UInt16 {
        var bits: UInt16 = 0
        for permission in clause.permissions {
            switch permission {
            case UInt8(ascii: "r"): bits |= 0o444 & clause.who
            case UInt8(ascii: "w"): bits |= 0o222 & clause.who
            case UInt8(ascii: "x"): bits |= 0o111 & clause.who
            case UInt8(ascii: "X"): if isDirectory || mode & 0o111 != 0 { bits |= 0o111 & clause.who }
            case UInt8(ascii: "s"):
                bits |= (clause.who & 0o700 != 0 ? 0o4000 : 0) | (clause.who & 0o070 != 0 ? 0o2000 : 0)
            case UInt8(ascii: "t"): bits |= 0o1000
            case UInt8(ascii: "u"): bits |= spread(mode >> 6 & 7) & clause.who
            case UInt8(ascii: "g"): bits |= spread(mode >> 3 & 7) & clause.who
            default: bits |= spread(mode & 7) & clause.who
            }
        }
        switch clause.action {
        case UInt8(ascii: "+"): return mode | bits
        case UInt8(ascii: "-"): return mode & ~bits
        default:
            let special: UInt16 = (clause.who & 0o700 != 0 ? 0o4000 : 0) | (clause.who & 0o070 != 0 ? 0o2000 : 0)
            return mode & ~(clause.who | special) | bits
        }
    }

    private static func spread(_ bits: UInt16) -> UInt16 { bits << 6 | bits << 3 | bits }
}
