// The media types of OCI and of Docker's schema 2, and what they say about a layer's compression.

/// Names of document and layer forms.
public enum MediaType {
    public static let index = "application/vnd.oci.image.index.v1+json"
    public static let manifest = "application/vnd.oci.image.manifest.v1+json"
    public static let config = "application/vnd.oci.image.config.v1+json"
    public static let layer = "application/vnd.oci.image.layer.v1.tar"
    public static let layerGzip = "application/vnd.oci.image.layer.v1.tar+gzip"
    public static let layerZstd = "application/vnd.oci.image.layer.v1.tar+zstd"
    public static let dockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
    public static let dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
    public static let dockerConfig = "application/vnd.docker.container.image.v1+json"
    public static let dockerLayer = "application/vnd.docker.image.rootfs.diff.tar"
    public static let dockerLayerGzip = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    public static let dockerForeignLayer = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"

    /// True for lists of images, one a platform.
    public static func isIndex(_ type: String) -> Bool { type == index || type == dockerManifestList }

    /// True for the manifest of one image.
    public static func isManifest(_ type: String) -> Bool { type == manifest || type == dockerManifest }

    /// True for a layer of files, however compressed; false for attestations and other artifacts.
    public static func isLayer(_ type: String) -> Bool {
        type.hasPrefix("application/vnd.oci.image.layer.") || type.hasPrefix("application/vnd.docker.image.rootfs.")
    }

    /// Nil for what OCI has no layers of.
    static func layer(_ compression: Compression) -> String? {
        switch compression {
        case .none: layer
        case .gzip: layerGzip
        case .zstd: layerZstd
        case .xz, .bzip2: nil
        }
    }
}
