// ROOT/format: which version a store has, and which features one has to know to use it. Specs/store-format.md, "format".

import StageHash
import StageSystem

/// Something that who uses a store has to know.
public enum StoreFeature: String, Sendable, CaseIterable {
    case chunkLists = "chunk-lists"
    case checkedValues = "checked-values"
    case leases
    /// Image records that are not JSON.
    case imageRecords = "image-records"
}

/// What the file says.
struct StoreFormat: Equatable {
    var version: Int
    /// Who does not know one of these leaves the store alone.
    var requires: [String] = []
    /// Who does not know one of these may use the store all the same.
    var allows: [String] = []
    /// What was found, for a version that is not known.
    private var text = ""

    static let current = StoreFormat(version: 2, requires: StoreFeature.allCases.map(\.rawValue))
    private static let first = "stagerun store 1\n"

    init(version: Int, requires: [String] = [], allows: [String] = []) {
        (self.version, self.requires, self.allows) = (version, requires, allows)
    }

    /// Version 0 for what is no format that this program knows.
    init(_ text: String) {
        self.init(version: 0)
        if text == Self.first {
            version = 1
            return
        }
        self.text = String(text.prefix { !$0.isNewline }.prefix(80))
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count >= 2, lines.removeFirst() == "stagerun store 2", lines.removeLast().isEmpty else { return }
        for line in lines {
            let words = line.split(separator: " ").map(String.init)
            switch words.first {
            case "requires": requires += words.dropFirst()
            case "allows": allows += words.dropFirst()
            default: return
            }
        }
        version = 2
    }

    var encoded: String {
        var lines = ["stagerun store \(version)"]
        if !requires.isEmpty { lines.append("requires " + requires.joined(separator: " ")) }
        if !allows.isEmpty { lines.append("allows " + allows.joined(separator: " ")) }
        return lines.joined(separator: "\n") + "\n"
    }

    /// The format of the store at `path`; nil when there is none yet.
    static func read(_ path: String) throws(SystemError) -> StoreFormat? {
        do throws(SystemError) {
            return StoreFormat(String(decoding: try readFile(path + "/format", limit: 4096), as: UTF8.self))
        } catch {
            if error.operation == "open", error.errno == 2 { return nil }
            throw error
        }
    }

    func write(_ path: String) throws(SystemError) { try writeFile(path + "/format", Array(encoded.utf8)) }

    /// Adds a feature to the format of the store at `path`, unless it is there, and with it all that this version knows: so
    /// two programs that do this at once write the same.
    static func require(_ feature: StoreFeature, _ path: String) throws(SystemError) {
        guard var format = try read(path), format.version == current.version,
            !format.requires.contains(feature.rawValue)
        else { return }
        format.requires += current.requires.filter { !format.requires.contains($0) }
        try format.write(path)
    }

    /// Refuses what this version does not know.
    func check(_ path: String) throws(StoreError) {
        if version == 0 { throw .unknownFormat(path: path, found: text) }
        for feature in requires where StoreFeature(rawValue: feature) == nil {
            throw .unknownFeature(path: path, feature: String(feature.prefix(80)))
        }
    }
}

extension Store {
    /// Says in the store that who uses it from now on has to know `feature`. To be called before what needs it is committed.
    public func require(_ feature: StoreFeature) throws(StoreError) {
        do throws(SystemError) { try StoreFormat.require(feature, path) } catch { throw .system(error) }
    }

    /// Gives the values of a store of format 1 their checks, in one transaction, then says so in the file. Packs stay as
    /// they are: their blocks are the same.
    func upgradeFromFormat1() throws(StoreError) {
        let done = Array("format".utf8)
        try database.write { transaction throws(StoreError) in
            // Another process may have been faster, or this one killed before it came to the file.
            if try transaction.value(.facts, done) != nil { return }
            for table in Table.allCases { try transaction.closeValues(of: table) }
            try transaction.put(.facts, done, [2])
        }
        do throws(SystemError) { try StoreFormat.current.write(path) } catch { throw .system(error) }
    }
}
