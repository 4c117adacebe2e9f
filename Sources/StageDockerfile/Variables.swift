// The variables that an instruction sees, in the order in which they were first set.

struct Variables: VariableSource {
    /// `NAME=value`.
    private(set) var entries: [String] = []
    private var index: [String: Int] = [:]
    private var values: [String] = []

    init() {}

    init(entries: [String]) {
        for entry in entries {
            let name = String(entry.utf8.prefix { $0 != UInt8(ascii: "=") }) ?? entry
            let value = String(entry.utf8.dropFirst(name.utf8.count + 1)) ?? ""
            set(name, value)
        }
    }

    func value(of name: String) -> String? { index[name].map { values[$0] } }

    var names: Dictionary<String, Int>.Keys { index.keys }

    /// In the order in which they were first set.
    private(set) var orderedNames: [String] = []

    mutating func set(_ name: String, _ value: String) {
        if let place = index[name] {
            entries[place] = "\(name)=\(value)"
            values[place] = value
        } else {
            index[name] = entries.count
            entries.append("\(name)=\(value)")
            values.append(value)
            orderedNames.append(name)
        }
    }
}
