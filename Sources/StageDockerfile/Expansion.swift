// Variable substitution and word splitting, operator for operator as docker's shell lexer has it.

/// Where the values of variables come from.
public protocol VariableSource {
    /// The value, or nil when the variable is not set.
    func value(of name: String) -> String?
}

extension [String: String]: VariableSource {
    public func value(of name: String) -> String? { self[name] }
}

/// A word that cannot be expanded.
public struct ExpansionError: Error, Sendable, Hashable, CustomStringConvertible {
    public var message: String
    /// Names that were looked up before the mistake and are not set.
    public var unmatched: [String] = []
    public var description: String { message }
}

/// How words are expanded. The default is what most instructions want.
public struct Expansion: Sendable, Hashable {
    /// The character that makes the next one literal.
    public var escape: Unicode.Scalar = "\\"
    /// Quotes stay in the result.
    public var keepsQuotes = false
    /// Escape characters stay in the result.
    public var keepsEscapes = false
    /// Quotes are ordinary characters, as in heredocs.
    public var ignoresQuotes = false
    /// `$name` of an unset variable stays as it is written.
    public var keepsUnset = false
    /// False saves the work when nobody asks for the words.
    public var splitsWords = true

    public init() {}

    public init(escape: UInt8) {
        self.escape = Unicode.Scalar(escape)
    }

    /// What came out.
    public struct Result: Sendable, Hashable {
        public var value = ""
        /// The value split at blanks that are neither quoted nor escaped.
        public var words: [String] = []
        /// Names that were looked up and found, in order of first use.
        public var matched: [String] = []
        /// Names that were looked up and are not set.
        public var unmatched: [String] = []
    }

    /// A value that doubles in every line would take all memory: what one word may grow to beyond its own length, in bytes.
    public static let largestGrowth = 1 << 20

    /// Expands one word.
    ///
    /// Throws when a quote or brace is not closed, an operator is unknown, a `?` operator's variable is missing,
    /// or the result is absurdly large.
    public func expand(_ word: String, _ variables: some VariableSource) throws(ExpansionError) -> Result {
        if isPlain(word) { return plain(word) }
        var scanner = ExpansionScanner(options: self, input: Array(word.unicodeScalars), variables: variables)
        return try scanner.run()
    }

    /// Most words have nothing to expand.
    private func isPlain(_ word: String) -> Bool {
        let escape = UInt8(truncatingIfNeeded: self.escape.value)
        return word.utf8.allSatisfy {
            $0 > 0x20 && $0 < 0x7F && $0 != escape && $0 != UInt8(ascii: "$") && $0 != UInt8(ascii: "'")
                && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "<")
        }
    }

    private func plain(_ word: String) -> Result {
        var result = Result()
        result.value = word
        if splitsWords, !word.isEmpty { result.words = [word] }
        return result
    }
}

/// One word's expansion under way.
struct ExpansionScanner<Variables: VariableSource> {
    let options: Expansion
    let input: [Unicode.Scalar]
    let variables: Variables
    var position = 0
    var keepsEscapes: Bool
    var depth = 0
    /// How many operands of operators were read so far.
    private var operands = 0
    private var growth = 0
    private var matched: [String] = []
    private var unmatched: [String] = []
    private var seen: Set<String> = []

    /// `${a:-${b:-...}}`: nobody writes this many, and each level takes stack.
    private static var deepest: Int { 100 }

    init(options: Expansion, input: [Unicode.Scalar], variables: Variables) {
        self.options = options
        // Go's scanner drops a byte order mark at the start.
        self.input = input.first == "\u{FEFF}" ? Array(input.dropFirst()) : input
        self.variables = variables
        keepsEscapes = options.keepsEscapes
    }

    mutating func run() throws(ExpansionError) -> Expansion.Result {
        let outcome: (value: String, words: [String])
        do throws(ExpansionError) { outcome = try text(until: nil, keepingEscapes: options.keepsEscapes) } catch {
            throw ExpansionError(message: error.message, unmatched: unmatched)
        }
        return Expansion.Result(value: outcome.value, words: outcome.words, matched: matched, unmatched: unmatched)
    }

    var peek: Unicode.Scalar? { position < input.count ? input[position] : nil }

    mutating func take() -> Unicode.Scalar? {
        guard position < input.count else { return nil }
        position += 1
        return input[position - 1]
    }

    func error(_ message: String) -> ExpansionError { ExpansionError(message: message) }

    mutating func value(of name: String) -> String? {
        let value = variables.value(of: name)
        if seen.insert(name).inserted {
            if value == nil { unmatched.append(name) } else { matched.append(name) }
        }
        return value
    }

    /// Counts what expansion adds, so that a few lines cannot ask for all memory.
    mutating func grow(_ text: String) throws(ExpansionError) -> String {
        growth += text.utf8.count
        guard growth <= Expansion.largestGrowth else {
            throw error("the expanded text is larger than \(Expansion.largestGrowth) bytes")
        }
        return text
    }

    /// Reads to `stop`, which is consumed, or to the end when there is none.
    mutating func text(
        until stop: Unicode.Scalar?, keepingEscapes: Bool
    ) throws(ExpansionError) -> (value: String, words: [String]) {
        depth += 1
        operands += 1
        let outerEscapes = keepsEscapes
        keepsEscapes = keepingEscapes
        defer {
            depth -= 1
            keepsEscapes = outerEscapes
        }
        guard depth <= Self.deepest else { throw error("substitutions are nested more than \(Self.deepest) deep") }

        var result = ""
        var words = WordCollector(isActive: options.splitsWords)
        while let next = peek {
            if next == stop {
                position += 1
                return (result, words.finished())
            }
            let operandsBefore = operands
            switch next {
            case "$":
                let value = try dollar()
                result += value
                if operands > operandsBefore { words.forgetWord() }
                words.add(splitting: value)
            case "'" where !options.ignoresQuotes:
                let value = try singleQuoted()
                result += value
                words.add(whole: value)
            case "\"" where !options.ignoresQuotes:
                let value = try doubleQuoted()
                result += value
                if operands > operandsBefore { words.forgetWord() }
                words.add(whole: value)
            case "<" where !options.ignoresQuotes:
                let value = heredocOpening()
                result += value
                words.add(whole: value)
            case options.escape:
                position += 1
                if keepsEscapes {
                    result.unicodeScalars.append(next)
                    words.add(literal: next)
                }
                guard let escaped = take() else { break }
                words.add(literal: escaped)
                result.unicodeScalars.append(escaped)
            default:
                position += 1
                words.add(next)
                result.unicodeScalars.append(next)
            }
        }
        if let stop { throw error("unexpected end of statement while looking for matching \(stop)") }
        return (result, words.finished())
    }

    /// `<<` and the blanks after it stay in one word, so that `<< EOF` is a heredoc too.
    private mutating func heredocOpening() -> String {
        position += 1
        guard peek == "<" else { return "<" }
        position += 1
        var text = "<<"
        while let blank = peek, blank == " " || blank == "\t" || blank == "\r" {
            text.unicodeScalars.append(blank)
            position += 1
        }
        return text
    }

    private mutating func singleQuoted() throws(ExpansionError) -> String {
        position += 1
        var result = String.UnicodeScalarView()
        if options.keepsQuotes { result.append("'") }
        while let next = take() {
            if next == "'" {
                if options.keepsQuotes { result.append(next) }
                return String(result)
            }
            result.append(next)
        }
        throw error("unexpected end of statement while looking for matching single-quote")
    }

    private mutating func doubleQuoted() throws(ExpansionError) -> String {
        position += 1
        var result = String.UnicodeScalarView()
        if options.keepsQuotes { result.append("\"") }
        while var next = peek {
            if next == "\"" {
                position += 1
                if options.keepsQuotes { result.append(next) }
                return String(result)
            }
            if next == "$" {
                result.append(contentsOf: try dollar().unicodeScalars)
                continue
            }
            position += 1
            if next == options.escape {
                if keepsEscapes { result.append(next) }
                guard let escaped = peek else { continue }
                // Only these can be escaped; before anything else the escape character is itself.
                if escaped == "\"" || escaped == "$" || escaped == options.escape {
                    position += 1
                    next = escaped
                }
            }
            result.append(next)
        }
        throw error("unexpected end of statement while looking for matching double-quote")
    }
}

/// Splits a value into words while it is built.
struct WordCollector {
    let isActive: Bool
    private var words: [String] = []
    private var word = String.UnicodeScalarView()
    private var isInWord = false

    init(isActive: Bool) { self.isActive = isActive }

    mutating func add(_ scalar: Unicode.Scalar) {
        guard isActive else { return }
        if !Blank.contains(scalar) {
            add(literal: scalar)
        } else if isInWord, !word.isEmpty {
            words.append(String(word))
            word = String.UnicodeScalarView()
            isInWord = false
        }
    }

    mutating func add(literal scalar: Unicode.Scalar) {
        guard isActive else { return }
        word.append(scalar)
        isInWord = true
    }

    mutating func add(splitting text: String) {
        guard isActive else { return }
        for scalar in text.unicodeScalars { add(scalar) }
    }

    mutating func add(whole text: String) {
        guard isActive else { return }
        word.append(contentsOf: text.unicodeScalars)
        isInWord = true
    }

    /// Docker's lexer has one buffer for the words of all levels: reading an operator's operand empties it, and what the
    /// word had so far is lost (`EXPOSE 8${x:-0}` exposes port 0). Images are built by it, so this is the language.
    mutating func forgetWord() { word = String.UnicodeScalarView() }

    func finished() -> [String] { word.isEmpty ? words : words + [String(word)] }
}
