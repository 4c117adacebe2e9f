// What can go wrong with images, layers and archives, as facts.

import StageGraph
import StageHash
import StageStore
import StageSystem

/// An error of reading or writing an image.
public enum ImageError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The filesystem said no.
    case system(SystemError)
    /// The store said no.
    case store(StoreError)
    /// Bytes that should be a tar archive are not, at `offset` of the uncompressed stream.
    case malformedTar(offset: UInt64, reason: String)
    /// A member of a tar archive that is not taken in.
    case refusedMember(name: String, reason: String)
    /// Compressed bytes that do not decompress.
    case corruptCompression(format: String, reason: String)
    /// More came out of the decompressor than the caller allows.
    case tooLarge(limit: UInt64)
    /// Bytes that do not have the digest that names them.
    case digestMismatch(subject: String, expected: Digest, found: Digest)
    /// Bytes that are more or fewer than promised.
    case sizeMismatch(subject: String, expected: UInt64, found: UInt64)
    /// A JSON document of an image that does not read.
    case invalidDocument(name: String, reason: String)
    /// A file of an image archive or layout that is not there.
    case missingPart(name: String, archive: String)
    /// An archive of no form that is known.
    case unknownArchive(name: String, found: String)
    /// Something well-formed that this version does not handle.
    case unsupported(String)
    /// An index without an image for the platform.
    case noPlatform(wanted: Platform, available: [String])
    /// A node that a tar archive cannot hold.
    case unrepresentable(path: String, reason: String)

    public var description: String {
        switch self {
        case .system(let error): "\(error)"
        case .store(let error): "\(error)"
        case .malformedTar(let offset, let reason):
            "the tar archive is damaged at byte \(offset): \(reason)"
        case .refusedMember(let name, let reason):
            "the tar archive is refused because of its member '\(name)': \(reason)"
        case .corruptCompression(let format, let reason):
            "the \(format) data is damaged: \(reason)"
        case .tooLarge(let limit):
            "the data is larger than the \(limit) bytes allowed once decompressed"
        case .digestMismatch(let subject, let expected, let found):
            "\(subject) is not what its digest says: expected \(expected), got \(found); fetch or make it again"
        case .sizeMismatch(let subject, let expected, let found):
            "\(subject) should have \(expected) bytes and has \(found); fetch or make it again"
        case .invalidDocument(let name, let reason):
            "\(name) does not read: \(reason)"
        case .missingPart(let name, let archive):
            "\(archive) lacks \(name), which it names: the archive is incomplete"
        case .unknownArchive(let name, let found):
            "\(name) is \(found), not an image archive: give what `docker save`, `podman save`, `skopeo copy` "
                + "or an OCI layout has"
        case .unsupported(let what): what
        case .noPlatform(let wanted, let available):
            "there is no image for \(wanted); there is: \(available.isEmpty ? "none" : available.joined(separator: ", "))"
        case .unrepresentable(let path, let reason):
            "\(path) does not fit into a tar archive: \(reason)"
        }
    }
}

/// Bytes as text for messages: what is not printable shows as `?`, and long ones are cut.
func printable(_ bytes: some Collection<UInt8>) -> String {
    let cut = bytes.prefix(300)
    let text = String(decoding: cut, as: UTF8.self)
    let shown = String(
        String.UnicodeScalarView(text.unicodeScalars.map { $0.value < 0x20 || $0.value == 0x7F ? "?" : $0 }))
    return bytes.count > 300 ? shown + "..." : shown
}
