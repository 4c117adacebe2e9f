// An SSH agent's socket for one command: a socket with the owner and mode that the mount asks for, whose connections are passed
// on to the agent. The agent's own socket keeps its rights, and a command that outlives its build reaches nothing.

import Glibc
import StageSystem

/// Relays connections on a thread of its own until it goes.
final class AgentRelay: Sendable {
    /// Absolute, on the host.
    let path: String
    private let stopWriter: OwnedFD
    private let thread: pthread_t

    /// - Parameters:
    ///   - agent: the path of the agent's socket.
    ///   - directory: where the new socket is made, as `name`.
    init(
        to agent: String, in directory: String, name: String, mode: UInt32, uid: UInt32, gid: UInt32
    ) throws(SystemError) {
        path = directory + "/" + name
        let listener = try Self.listen(in: directory, name: name)
        let place = path
        if uid != 0 || gid != 0 { try retrying("chown", place) { chown(place, uid, gid) } }
        try retrying("chmod", place) { chmod(place, mode_t(mode)) }
        let (reader, writer) = try OwnedFD.pipe()
        stopWriter = OwnedFD(owning: writer)
        let loop = UnsafeMutablePointer<RelayLoop>.allocate(capacity: 1)
        loop.initialize(to: RelayLoop(agent: agent, listener: listener.take(), stop: reader))
        var thread = pthread_t()
        let status = pthread_create(
            &thread, nil,
            { argument in
                guard let loop = argument?.assumingMemoryBound(to: RelayLoop.self) else { return nil }
                loop.pointee.run()
                loop.deinitialize(count: 1)
                loop.deallocate()
                return nil
            }, loop)
        if status != 0 {
            loop.pointee.close()
            loop.deinitialize(count: 1)
            loop.deallocate()
            throw SystemError("pthread_create", errno: status)
        }
        self.thread = thread
    }

    deinit {
        var byte: UInt8 = 0
        _ = write(stopWriter.raw, &byte, 1)
        pthread_join(thread, nil)
    }

    private static func listen(in directory: String, name: String) throws(SystemError) -> OwnedFD {
        let socket = try UnixSocket.make()
        try UnixSocket.with(directory: directory, name: name) { address, length throws(SystemError) in
            try retrying("bind", directory + "/" + name) { bind(socket.raw, address, length) }
        }
        try retrying("listen", name) { Glibc.listen(socket.raw, 16) }
        return socket
    }
}

private enum UnixSocket {
    static func make() throws(SystemError) -> OwnedFD {
        let type = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        return OwnedFD(owning: try retrying("socket") { socket(AF_UNIX, type, 0) })
    }

    /// An address has room for 107 bytes; by the directory's descriptor, a path of any length fits.
    static func with(
        directory: String, name: String,
        _ body: (UnsafePointer<sockaddr>, socklen_t) throws(SystemError) -> Void
    ) throws(SystemError) {
        let parent = try OwnedFD.open(directory, O_RDONLY | O_DIRECTORY)
        let short = Array("/proc/self/fd/\(parent.raw)/\(name)".utf8)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        guard short.count < MemoryLayout.size(ofValue: address.sun_path) else {
            throw SystemError("socket", name, errno: ENAMETOOLONG)
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: short) }
        let result: Result<Void, SystemError> = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { general in
                do throws(SystemError) {
                    return .success(try body(general, socklen_t(MemoryLayout<sockaddr_un>.size)))
                } catch { return .failure(error) }
            }
        }
        try result.get()
    }

    static func connect(_ path: String) throws(SystemError) -> OwnedFD {
        let slash = path.lastIndex(of: "/")
        let directory = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        let name = slash.map { String(path[path.index(after: $0)...]) } ?? path
        let socket = try make()
        try with(directory: directory, name: name) { address, length throws(SystemError) in
            try retrying("connect", path) { Glibc.connect(socket.raw, address, length) }
        }
        return socket
    }
}

/// The thread's work: one poll over the listener and all connections. What one side wrote is read only when the other has
/// taken what came before, so a side that reads nothing costs one buffer.
private struct RelayLoop {
    private static let mostConnections = 64

    private struct Pipe {
        let source: CInt
        let sink: CInt
        var bytes: ArraySlice<UInt8> = []
        var isAtEnd = false

        var isOver: Bool { isAtEnd && bytes.isEmpty }
    }

    private let agent: String
    private let listener: CInt
    private let stop: CInt
    /// Two for each connection, one a direction.
    private var pipes: [(there: Pipe, back: Pipe)] = []

    init(agent: String, listener: CInt, stop: CInt) {
        self.agent = agent
        self.listener = listener
        self.stop = stop
    }

    mutating func run() {
        while true {
            var watched = [
                pollfd(fd: stop, events: Int16(POLLIN), revents: 0),
                pollfd(
                    fd: pipes.count < Self.mostConnections ? listener : -1, events: Int16(POLLIN), revents: 0),
            ]
            for pair in pipes {
                watched.append(Self.watch(pair.there.source, reads: pair.there, writes: pair.back))
                watched.append(Self.watch(pair.back.source, reads: pair.back, writes: pair.there))
            }
            if poll(&watched, nfds_t(watched.count), -1) < 0 && errno != EINTR { break }
            if watched[0].revents != 0 { break }
            for index in pipes.indices.reversed() {
                if watched[2 + 2 * index].revents == 0 && watched[3 + 2 * index].revents == 0 { continue }
                let isWhole = Self.move(&pipes[index].there) && Self.move(&pipes[index].back)
                if !isWhole || (pipes[index].there.isOver && pipes[index].back.isOver) { end(index) }
            }
            if watched[1].revents != 0 { accept() }
        }
        close()
    }

    func close() {
        for pair in pipes {
            Glibc.close(pair.there.source)
            Glibc.close(pair.there.sink)
        }
        Glibc.close(listener)
        Glibc.close(stop)
    }

    private static func watch(_ fd: CInt, reads: Pipe, writes: Pipe) -> pollfd {
        var events: Int32 = 0
        if reads.bytes.isEmpty && !reads.isAtEnd { events |= POLLIN }
        if !writes.bytes.isEmpty { events |= POLLOUT }
        return pollfd(fd: events == 0 ? -1 : fd, events: Int16(events), revents: 0)
    }

    private mutating func accept() {
        let client = Glibc.accept(listener, nil, nil)
        guard client >= 0 else { return }
        _ = fcntl(client, F_SETFD, FD_CLOEXEC)
        _ = fcntl(client, F_SETFL, O_NONBLOCK)
        // Without an agent behind it the connection ends at once, as one to an agent that died does.
        guard let server = (try? UnixSocket.connect(agent))?.take() else {
            Glibc.close(client)
            return
        }
        pipes.append((Pipe(source: client, sink: server), Pipe(source: server, sink: client)))
    }

    private mutating func end(_ index: Int) {
        Glibc.close(pipes[index].there.source)
        Glibc.close(pipes[index].there.sink)
        pipes.remove(at: index)
    }

    /// Moves what can be moved without waiting. False when the connection is broken.
    private static func move(_ pipe: inout Pipe) -> Bool {
        if pipe.bytes.isEmpty && !pipe.isAtEnd {
            var chunk = [UInt8](repeating: 0, count: 16 * 1024)
            let count = read(pipe.source, &chunk, chunk.count)
            if count > 0 { pipe.bytes = chunk[..<count] }
            if count == 0 {
                pipe.isAtEnd = true
                shutdown(pipe.sink, Int32(SHUT_WR))
            }
            if count < 0 && errno != EAGAIN && errno != EINTR { return false }
        }
        while !pipe.bytes.isEmpty {
            let sent = pipe.bytes.withUnsafeBytes {
                send(pipe.sink, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if sent < 0 { return errno == EAGAIN || errno == EINTR }
            pipe.bytes = pipe.bytes.dropFirst(sent)
        }
        return true
    }
}
