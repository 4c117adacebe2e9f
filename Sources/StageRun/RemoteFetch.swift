// Files of the web into the store: asked for with what is known of them, so that what did not change is not sent again.

import Glibc
import StageEngine
import StageGraph
import StageHash
import StageImage
import StageRegistry
import StageStore
import StageSystem
import Synchronization

/// What of the person's surroundings fetching needs; the library reads none of it itself.
public struct FetchTools: Sendable, Hashable {
    public var web = WebConfiguration()
    /// Where `git` and `ssh` are found.
    public var searchPath = "/usr/local/bin:/usr/bin:/bin"
    /// `NAME=value`: proxies, for git.
    public var proxyEnvironment: [String] = []

    public init() {}
}

/// Fetches sources for one build.
struct RemoteFetch: Sendable {
    let root: StageRoot
    let loans: Loans
    let tools: FetchTools

    func tree(of source: RemoteSource) async throws(SourceError) -> TreeRef {
        switch source {
        case .web(let file): try await fetch(file)
        case .git(let source): try await checkOut(source)
        }
    }

    // MARK: The web

    private static let tries = 3

    /// A directory with the file alone: 0600, root's, its time the server's.
    func fetch(_ file: WebFile) async throws(SourceError) -> TreeRef {
        do {
            let known = try record(of: file)
            if let known, let checksum = file.checksum, known.digest.description == checksum {
                return try tree(file, known)
            }
            let fetched = try await download(file, known)
            if let checksum = file.checksum, fetched.digest.description != checksum {
                throw SourceError(
                    "digest mismatch for \(file.shown): \(fetched.digest) (expected: \(checksum))")
            }
            return try tree(file, fetched)
        } catch let error as SourceError {
            throw error
        } catch let error as WebError {
            throw SourceError("cannot fetch \(file.shown): \(error)")
        } catch { throw SourceError("cannot fetch \(file.shown): \(error)") }
    }

    private func download(_ file: WebFile, _ known: WebRecord?) async throws -> WebRecord {
        var request = WebRequest(url: file.url)
        request.entityTag = known?.entityTag
        // A tag is exact; a time alone has the grain of a second.
        if known?.entityTag == nil { request.lastModified = known?.lastModified }
        request.authorization = authorization(for: file.url)
        for attempt in 1... {
            let content = FetchedContent(store: root.store)
            do {
                switch try await root.web(tools.web).fetch(request, into: { try content.append($0) }) {
                case .unchanged:
                    guard let known else { throw SourceError("\(file.shown) answers that it did not change") }
                    return known
                case .fetched(let tag, let time):
                    let (digest, size) = try content.finish()
                    let record = WebRecord(digest: digest, size: size, entityTag: tag, lastModified: time)
                    root.store.set(.facts, Self.key(file), record.encoded)
                    return record
                }
            } catch let error as WebError {
                guard error.mayHeal, attempt < Self.tries else { throw error }
                try await Task.sleep(for: .milliseconds(500 * attempt))
            }
        }
        throw SourceError("cannot fetch \(file.shown)")
    }

    /// As BuildKit has them: the whole header, or a token, by the host's name.
    private func authorization(for url: String) -> String? {
        let authority = url.split(separator: "/", omittingEmptySubsequences: false).dropFirst(2).first ?? ""
        let host = authority.split(separator: "@").last.map(String.init) ?? ""
        if let header = value(of: "HTTP_AUTH_HEADER_" + host) { return header }
        return value(of: "HTTP_AUTH_TOKEN_" + host).map { "Bearer " + $0 }
    }

    /// The text of a secret, without the line end of its file.
    func value(of secret: String) -> String? {
        let bytes: [UInt8]
        switch loans.secrets[secret] {
        case nil: return nil
        case .value(let value): bytes = value.bytes
        case .file(let path): bytes = (try? readFile(path, limit: Loans.largestSecret)) ?? []
        }
        let text = String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline).first
        return text.map(String.init)
    }

    // MARK: What is known

    private static func key(_ file: WebFile) -> [UInt8] { Array("web ".utf8) + Digest.of(file.url).bytes }

    /// What an earlier download left, if it is all here still.
    private func record(of file: WebFile) throws -> WebRecord? {
        guard let bytes = try root.store.get(.facts, Self.key(file)), let record = WebRecord(bytes),
            try root.store.size(of: record.digest) == record.size
        else { return nil }
        return record
    }

    private func tree(_ file: WebFile, _ record: WebRecord) throws(StoreError) -> TreeRef {
        let time = record.lastModified.flatMap(HTTPDate.parse) ?? .epoch
        let attributes = Attributes(mode: 0o600, time: time)
        let node = Node(attributes: attributes, content: .file(record.digest, size: record.size))
        return try root.store.put(
            DirectoryObject(
                attributes: Attributes(mode: 0o755),
                items: [.init(name: FileName(file.name), entry: .node(node))]))
    }
}

/// What is remembered of a file of the web.
private struct WebRecord {
    var digest: Digest
    var size: UInt64
    var entityTag: String?
    var lastModified: String?

    init(digest: Digest, size: UInt64, entityTag: String?, lastModified: String?) {
        (self.digest, self.size, self.entityTag, self.lastModified) = (digest, size, entityTag, lastModified)
    }

    init?(_ bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        guard reader.u8() == 1, let digest = reader.digest(), let size = reader.u64(), let tag = reader.string(),
            let time = reader.string(), reader.isAtEnd
        else { return nil }
        self.init(
            digest: digest, size: size, entityTag: tag.isEmpty ? nil : tag, lastModified: time.isEmpty ? nil : time)
    }

    var encoded: [UInt8] {
        var writer = ByteWriter()
        writer.u8(1)
        writer.digest(digest)
        writer.u64(size)
        writer.string(entityTag ?? "")
        writer.string(lastModified ?? "")
        return writer.bytes
    }
}

/// A content that comes in pieces from a task.
private final class FetchedContent: Sendable {
    private struct State { var ingest: (any ContentIngest)? }

    private let store: Store
    private let state = Mutex(State())

    init(store: Store) { self.store = store }

    func append(_ bytes: [UInt8]) throws {
        try state.withLock { state in
            if state.ingest == nil { state.ingest = try store.ingest() }
            try bytes.withUnsafeBytes { try state.ingest?.update($0) }
        }
    }

    func finish() throws -> (digest: Digest, size: UInt64) {
        try state.withLock { state in
            if state.ingest == nil { state.ingest = try store.ingest() }
            var ingest = state.ingest.take()
            return try ingest?.finish() ?? (Digest.of([]), 0)
        }
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, the one form that servers may send today.
enum HTTPDate {
    static func parse(_ text: String) -> Timestamp? {
        let words = text.split(separator: " ")
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        guard words.count == 6, words[5] == "GMT" || words[5] == "UTC", let day = Int(words[1]),
            let month = months.firstIndex(of: String(words[2])), let year = Int(words[3]), (1970...9999).contains(year),
            (1...31).contains(day)
        else { return nil }
        let clock = words[4].split(separator: ":").compactMap { Int($0) }
        guard clock.count == 3, (0..<24).contains(clock[0]), (0..<60).contains(clock[1]), (0...60).contains(clock[2])
        else { return nil }
        var fields = tm()
        fields.tm_year = CInt(year - 1900)
        fields.tm_mon = CInt(month)
        fields.tm_mday = CInt(day)
        (fields.tm_hour, fields.tm_min, fields.tm_sec) = (CInt(clock[0]), CInt(clock[1]), CInt(clock[2]))
        return Timestamp(seconds: Int64(timegm(&fields)))
    }
}
