// `$name` and `${name...}`: the operators of variable substitution.

extension ExpansionScanner {
    /// At a `$`.
    mutating func dollar() throws(ExpansionError) -> String {
        position += 1
        guard peek == "{" else {
            let name = self.name()
            if name.isEmpty { return "$" }
            let value = self.value(of: name)
            if value == nil, options.keepsUnset { return "$" + name }
            return try grow(value ?? "")
        }
        position += 1
        switch peek {
        case nil: throw error("syntax error: missing '}'")
        case "{", "}", ":": throw error("syntax error: bad substitution")
        default: return try braced(name())
        }
    }

    /// After `${name`.
    private mutating func braced(_ name: String) throws(ExpansionError) -> String {
        guard let mark = take() else { throw error("syntax error: missing '}'") }
        switch mark {
        case "}":
            let value = self.value(of: name)
            if value == nil, options.keepsUnset { return "${\(name)}" }
            return try grow(value ?? "")
        case ":":
            guard let kind = take() else { throw error("syntax error: missing '}'") }
            guard kind == "-" || kind == "+" || kind == "?" else {
                if kind != "#", kind != "%" {
                    _ = try operand(until: "}", keepingEscapes: false, missing: "syntax error: missing '}'")
                    _ = self.value(of: name)
                }
                throw error("unsupported modifier (:\(kind)) in substitution")
            }
            return try defaulted(name, kind, emptyIsUnset: true)
        case "-", "+", "?": return try defaulted(name, mark, emptyIsUnset: false)
        case "#", "%": return try trimmed(name, mark)
        case "/": return try replaced(name)
        default: throw error("unsupported modifier (\(mark)) in substitution")
        }
    }

    /// The word of an operator, to its closing brace.
    private mutating func operand(
        until stop: Unicode.Scalar, keepingEscapes: Bool, missing: String
    ) throws(ExpansionError) -> String {
        do {
            return try text(until: stop, keepingEscapes: keepingEscapes).value
        } catch {
            if peek == nil, error.message.hasPrefix("unexpected end of statement") { throw self.error(missing) }
            throw error
        }
    }

    /// `-`, `+` and `?`, with or without the colon.
    private mutating func defaulted(
        _ name: String, _ kind: Unicode.Scalar, emptyIsUnset: Bool
    ) throws(ExpansionError) -> String {
        let word = try operand(until: "}", keepingEscapes: false, missing: "syntax error: missing '}'")
        let value = self.value(of: name)
        let mark = emptyIsUnset ? ":\(kind)" : "\(kind)"
        if value == nil, options.keepsUnset { return "${\(name)\(mark)\(word)}" }
        let isMissing = value == nil || (emptyIsUnset && value == "")
        switch kind {
        case "-": return isMissing ? word : try grow(value ?? "")
        case "+": return isMissing ? "" : word
        default:
            if !isMissing { return try grow(value ?? "") }
            let reason = value == nil ? "is not allowed to be unset" : "is not allowed to be empty"
            throw error("\(name): \(word.isEmpty ? reason : word)")
        }
    }

    /// `#`, `##`, `%` and `%%`.
    private mutating func trimmed(_ name: String, _ mark: Unicode.Scalar) throws(ExpansionError) -> String {
        var word = try operand(until: "}", keepingEscapes: true, missing: "syntax error: missing '}'")
        let value = self.value(of: name)
        if value == nil, options.keepsUnset { return "${\(name)\(mark)\(word)}" }
        var isLongest = false
        if word.unicodeScalars.first == mark {
            isLongest = true
            word = String(word.unicodeScalars.dropFirst())
        }
        let pattern = try ShellPattern(word)
        let scalars = Array((value ?? "").unicodeScalars)
        let kept = try pattern.trim(scalars, suffix: mark == "%", longest: isLongest)
        return try grow(String(String.UnicodeScalarView(kept)))
    }

    /// `/` and `//`.
    private mutating func replaced(_ name: String) throws(ExpansionError) -> String {
        let isAll = peek == "/"
        if isAll { position += 1 }
        let word = try operand(until: "/", keepingEscapes: true, missing: "syntax error: missing '/' in ${}")
        let replacement = try operand(until: "}", keepingEscapes: true, missing: "syntax error: missing '}'")
        let value = self.value(of: name)
        if value == nil, options.keepsUnset { return "${\(name)/\(isAll ? "/" : "")\(word)/\(replacement)}" }
        let pattern = try ShellPattern(word)
        let scalars = Array((value ?? "").unicodeScalars)
        let room = Expansion.largestGrowth
        let result = try pattern.replace(scalars, with: Array(replacement.unicodeScalars), all: isAll, room: room)
        return try grow(String(String.UnicodeScalarView(result)))
    }

    /// Letters, digits and `_`; a leading digit takes digits only; a special parameter is one character.
    private mutating func name() -> String {
        guard let first = peek else { return "" }
        var result = String.UnicodeScalarView()
        if first.properties.numericType == .decimal {
            while let next = peek, next.properties.numericType == .decimal {
                result.append(next)
                position += 1
            }
            return String(result)
        }
        if "@*#?-$!".unicodeScalars.contains(first) {
            position += 1
            return String(first)
        }
        while let next = peek, Self.isNamePart(next) {
            result.append(next)
            position += 1
        }
        return String(result)
    }

    private static func isNamePart(_ scalar: Unicode.Scalar) -> Bool {
        if scalar.isASCII {
            let value = scalar.value
            return (0x30...0x39).contains(value) || (0x41...0x5A).contains(value & 0xDF) && value < 0x7B
                || scalar == "_"
        }
        switch scalar.properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter, .decimalNumber:
            return true
        default: return false
        }
    }
}
