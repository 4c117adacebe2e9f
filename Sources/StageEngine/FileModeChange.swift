// `--chmod`: octal digits, or a symbolic mode as the BSD chmod reads it (which BuildKit follows), with a umask of 0.

/// A change of permission bits.
public struct FileModeChange: Sendable, Hashable {
    private enum Form: Sendable, Hashable {
        case octal(UInt16)
        case symbolic([Change])
    }

    /// One change of bits. A symbolic mode is a list of them, each applied to what the one before left.
    private enum Change: Sendable, Hashable {
        case set(UInt16)
        case clear(UInt16)
        /// `X`: for directories, and for what was executable by anyone before the first change.
        case setWhereExecutable(UInt16)
        /// `g=u`: the three bits at `shift` for each class in `classes`.
        case copy(shift: UInt16, classes: UInt16, sign: UInt8)
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
        var reader = SymbolicModeReader(rest: Array(text.utf8)[...])
        guard reader.read() else { return nil }
        form = .symbolic(reader.changes)
    }

    /// The mode that `mode` becomes.
    public func applied(to mode: UInt16, isDirectory: Bool) -> UInt16 {
        switch form {
        case .octal(let value): value
        case .symbolic(let changes):
            changes.reduce(mode) { Self.apply($1, $0, isExecutable: isDirectory || mode & 0o111 != 0) }
        }
    }

    private static func apply(_ change: Change, _ mode: UInt16, isExecutable: Bool) -> UInt16 {
        switch change {
        case .set(let bits): return mode | bits
        case .clear(let bits): return mode & ~bits
        case .setWhereExecutable(let bits): return isExecutable ? mode | bits : mode
        case .copy(let shift, let classes, let sign):
            let bits = (mode >> shift & 7) * 0o111 & classes
            switch sign {
            case UInt8(ascii: "+"): return mode | bits
            case UInt8(ascii: "-"): return mode & ~bits
            default: return mode & ~classes | bits
            }
        }
    }

    /// Reads clauses such as `u=rwX,g+s`.
    private struct SymbolicModeReader {
        var rest: ArraySlice<UInt8>
        var changes: [Change] = []
        /// Whether the last `=` has cleared already what it sets anew.
        private var hasCleared = false

        private static let sticky: UInt16 = 0o1000
        /// What a clause without `u`, `g`, `o` and `a` is about.
        private static let everyone: UInt16 = 0o6777

        init(rest: ArraySlice<UInt8>) { self.rest = rest }

        /// False for what is no mode.
        mutating func read() -> Bool {
            while true {
                var who: UInt16 = 0
                while let byte = rest.first, let bits = Self.classBits(byte) {
                    who |= bits
                    rest.removeFirst()
                }
                repeat {
                    guard let sign = rest.popFirst(), "+-=".utf8.contains(sign) else { return false }
                    who &= ~Self.sticky
                    permissions(sign, &who)
                } while rest.first.map { $0 != UInt8(ascii: ",") } ?? false
                if rest.popFirst() == nil { return true }
            }
        }

        private static func classBits(_ byte: UInt8) -> UInt16? {
            switch byte {
            case UInt8(ascii: "u"): 0o4700
            case UInt8(ascii: "g"): 0o2070
            case UInt8(ascii: "o"): 0o0007
            case UInt8(ascii: "a"): everyone
            default: nil
            }
        }

        /// What follows one sign.
        private mutating func permissions(_ sign: UInt8, _ who: inout UInt16) {
            if sign == UInt8(ascii: "=") { hasCleared = false }
            var bits: UInt16 = 0
            var conditional: UInt16 = 0
            while let byte = rest.first {
                // The set-id and sticky bits are nothing that others alone can have.
                let isForOthers = who != 0 && who & ~0o007 == 0
                switch byte {
                case UInt8(ascii: "r"): bits |= 0o444
                case UInt8(ascii: "w"): bits |= 0o222
                case UInt8(ascii: "x"): bits |= 0o111
                case UInt8(ascii: "X"): if sign == UInt8(ascii: "-") { bits |= 0o111 } else { conditional = 0o111 }
                case UInt8(ascii: "s"): if !isForOthers { bits |= 0o6000 }
                case UInt8(ascii: "t"):
                    if !isForOthers {
                        who |= Self.sticky
                        bits |= Self.sticky
                    }
                case UInt8(ascii: "u"), UInt8(ascii: "g"), UInt8(ascii: "o"):
                    if bits != 0 { add(sign, who, bits) }
                    if sign == UInt8(ascii: "=") { hasCleared = true }
                    if conditional != 0 { changes.append(.setWhereExecutable(Self.limited(conditional, who))) }
                    (bits, conditional) = (0, 0)
                    let shift: UInt16 = byte == UInt8(ascii: "u") ? 6 : byte == UInt8(ascii: "g") ? 3 : 0
                    changes.append(.copy(shift: shift, classes: who == 0 ? 0o777 : who & 0o777, sign: sign))
                default:
                    finish(sign, who, bits, conditional)
                    return
                }
                rest.removeFirst()
            }
            finish(sign, who, bits, conditional)
        }

        private mutating func finish(_ sign: UInt8, _ who: UInt16, _ bits: UInt16, _ conditional: UInt16) {
            let clears = sign == UInt8(ascii: "=") && !hasCleared
            if bits != 0 || clears {
                if clears { hasCleared = true }
                add(sign, who, bits)
            }
            if conditional != 0 { changes.append(.setWhereExecutable(Self.limited(conditional, who))) }
        }

        private mutating func add(_ sign: UInt8, _ who: UInt16, _ bits: UInt16) {
            if sign == UInt8(ascii: "=") { changes.append(.clear(who == 0 ? Self.everyone : who)) }
            let limited = Self.limited(bits, who)
            changes.append(sign == UInt8(ascii: "-") ? .clear(limited) : .set(limited))
        }

        private static func limited(_ bits: UInt16, _ who: UInt16) -> UInt16 { who == 0 ? bits : bits & who }
    }
}
