// `ADD archive.tar.gz /`: archives are recognised by what is in them, never by their names.

import StageHash
import StageStore

/// Unpacks archives that are in the store already.
public enum ArchiveReader {
    /// The tree of the archive that `content` is; nil when it is no archive, so that it is copied as the file it is.
    ///
    /// Recognised are tar archives, plain or compressed with gzip, bzip2, xz or zstd.
    /// - Throws: anything that is wrong with an archive that begins like one.
    public static func tree(of content: Digest, in store: any TreeStore) throws(ImageError) -> TreeRef? {
        try tree(of: ContentReader(content, store: store), in: store)
    }

    /// The same of a file that is not in the store: a context.
    public static func tree(
        of file: SpoolFile, named name: String, in store: any TreeStore
    ) throws(ImageError) -> TreeRef? {
        try tree(of: DescriptorSource(file.fd, offset: 0, size: file.size, name: name), in: store)
    }

    /// What the archive that `content` is makes of the directory `base`; nil when it is no archive.
    ///
    /// - Parameters:
    ///   - owner: of what the archive names, in place of its own.
    ///   - linkSalt: makes the link groups of one unpacking its own.
    public static func unpack(
        _ content: Digest, onto base: TreeRef, in store: any TreeStore, owner: (uid: UInt32, gid: UInt32)?,
        linkSalt: [UInt8]
    ) throws(ImageError) -> TreeRef? {
        let source = try ContentReader(content, store: store)
        return try layer(of: source, in: store)?.unpack(onto: base, owner: owner, linkSalt: linkSalt, in: store)
    }

    private static func tree(of source: any ByteSource, in store: any TreeStore) throws(ImageError) -> TreeRef? {
        try layer(of: source, in: store)?.apply(to: nil, in: store)
    }

    private static func layer(of source: any ByteSource, in store: any TreeStore) throws(ImageError) -> ParsedLayer? {
        let (plain, compression) = try decompressing(source)
        let start: [UInt8]
        do throws(ImageError) { start = try plain.peek(TarField.block) } catch {
            // What begins like gzip and is none is a file like any other.
            if case .corruptCompression = error { return nil }
            throw error
        }
        guard isTar(start) else { return nil }
        do throws(ImageError) {
            return try ParsedLayer(
                reading: PrefixedSource(start, plain), into: store, keepsRecipe: false, whiteouts: false)
        } catch {
            if case .none = compression, case .malformedTar(0, _) = error { return nil }
            throw error
        }
    }

    private static func isTar(_ start: [UInt8]) -> Bool {
        guard start.count == TarField.block else { return false }
        return start.withUnsafeBytes { bytes in
            let block = TarBlock(bytes: bytes)
            return !block.isZero && block.hasValidChecksum
        }
    }
}
