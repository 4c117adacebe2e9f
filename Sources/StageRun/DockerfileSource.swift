// The Dockerfile of a build, found and read.

import Glibc
import StageDockerfile
import StageGraph
import StageSystem

/// A Dockerfile's bytes and where they come from.
struct DockerfileSource: Sendable {
    let path: String
    /// What messages call it: relative to the context when it lies there.
    let name: String
    let bytes: [UInt8]

    private static let limit = 64 << 20

    /// The path as given, or the one found in the context.
    init(_ request: BuildRequest) throws(StageRunError) {
        if let path = request.dockerfile {
            if WebFile.isAddress(path) {
                throw .failed(
                    "the Dockerfile \(WebFile(url: path).shown) has to be fetched first",
                    advice: "get it with curl, and give its path to -f")
            }
            do throws(SystemError) { self.init(path, try readFile(path, limit: Self.limit), request) } catch {
                throw .failed("cannot read the Dockerfile \(path): \(error.reason)")
            }
            return
        }
        guard request.isDirectory else {
            throw .failed(
                "\(request.contextPath) is no directory to find a Dockerfile in", advice: "name one with -f FILE")
        }
        for name in ["Dockerfile", "dockerfile"] {
            let path = request.contextPath + "/" + name
            do throws(SystemError) {
                self.init(path, try readFile(path, limit: Self.limit), request)
                return
            } catch {
                if error.errno == ENOENT || error.errno == ENOTDIR { continue }
                throw .failed("cannot read the Dockerfile \(path): \(error.reason)")
            }
        }
        try request.checkContext()
        throw .failed(
            "no Dockerfile in \(request.contextPath)",
            advice: "name it with -f FILE, or give the directory that holds it")
    }

    /// One that is no file of this machine.
    init(named name: String, _ bytes: [UInt8]) {
        path = name
        self.name = name
        self.bytes = bytes
    }

    private init(_ path: String, _ bytes: [UInt8], _ request: BuildRequest) {
        self.path = path
        self.bytes = bytes
        let directory = request.contextPath + "/"
        name = path.hasPrefix(directory) ? String(path.dropFirst(directory.utf8.count)) : path
    }
}

extension BuildRequest {
    /// Whether the main context is a directory of this machine.
    var isDirectory: Bool {
        switch context {
        case nil, .directory: true
        case .archive, .descriptor, .remote, .layout, .image: false
        }
    }

    func checkContext() throws(StageRunError) {
        guard isDirectory else { return }
        var info = stat()
        guard stat(contextPath, &info) == 0 else {
            throw .failed("the build context \(contextPath): \(SystemError.last("stat").reason)")
        }
        guard info.st_mode & S_IFMT == S_IFDIR else {
            throw .failed("the build context \(contextPath) is not a directory")
        }
    }
}
