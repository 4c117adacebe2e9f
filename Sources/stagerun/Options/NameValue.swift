// `NAME=value` options: build arguments, labels and environment variables.

/// A name and its value.
struct NameValue: Hashable, Sendable {
    var name: String
    var value: String

    /// `K=V`; `K` alone takes the value from `environment`, and gives nil when it is not set there, as docker has it.
    static func inheriting(
        _ text: String, option: String, environment: (String) -> String?
    ) throws(UsageError) -> NameValue? {
        let (name, value) = try split(text, option: option)
        if let value { return NameValue(name: name, value: value) }
        return environment(name).map { NameValue(name: name, value: $0) }
    }

    /// `K=V`; `K` alone has an empty value.
    static func plain(_ text: String, option: String) throws(UsageError) -> NameValue {
        let (name, value) = try split(text, option: option)
        return NameValue(name: name, value: value ?? "")
    }

    private static func split(_ text: String, option: String) throws(UsageError) -> (String, String?) {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        guard let name = parts.first, !name.isEmpty else {
            throw UsageError("\(option) \"\(text)\": the name is missing; write NAME=value")
        }
        return (name, parts.count == 2 ? parts[1] : nil)
    }
}

extension [NameValue] {
    /// The last one of a name wins.
    var dictionary: [String: String] { Dictionary(map { ($0.name, $0.value) }) { _, last in last } }
}
