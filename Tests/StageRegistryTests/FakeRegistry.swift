// A registry that does whatever a test tells it to, down to the bytes on the wire.

import NIOCore
import NIOPosix
import NIOSSL
import Synchronization

/// A server on 127.0.0.1 that answers each request as its closure says.
final class FakeRegistry: Sendable {
    struct Request: Sendable {
        var method: String
        /// Without the query.
        var path: String
        var query: String
        /// Names in lower case.
        var headers: [String: String]
        var authorization: String? { headers["authorization"] }
        /// The first byte that a Range header asks for.
        var rangeStart: Int? {
            headers["range"].flatMap { value in
                value.hasPrefix("bytes=") && value.hasSuffix("-") ? Int(value.dropFirst(6).dropLast()) : nil
            }
        }
    }

    enum Ending: Sendable {
        case keepAlive
        case close
        /// The connection stays open and silent.
        case hang
    }

    struct Reply: Sendable {
        var status = 200
        var headers: [(String, String)] = []
        var body: [UInt8] = []
        /// The Content-Length that is stated; nil for the true one.
        var statedLength: Int?
        var isChunked = false
        /// Only this many bytes of the body are sent.
        var cut: Int?
        /// The body goes out in pieces of this size, so long apart.
        var pieces: (size: Int, interval: TimeAmount)?
        var ending = Ending.keepAlive
        /// Instead of everything else: these bytes, then the ending.
        var raw: [UInt8]?

        init(_ status: Int = 200, _ headers: [(String, String)] = [], body: [UInt8] = []) {
            self.status = status
            self.headers = headers
            self.body = body
        }

        init(_ status: Int = 200, _ headers: [(String, String)] = [], text: String) {
            self.init(status, headers, body: Array(text.utf8))
        }
    }

    private let channel: any Channel
    private let log: RequestLog
    let port: Int

    /// - Parameter greets: whether it answers the client's first question, `GET /v2/`, by itself and unlogged.
    init(tls: NIOSSLContext? = nil, greets: Bool = true, answer: @escaping @Sendable (Request) -> Reply) async throws {
        let log = RequestLog()
        self.log = log
        channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let tls { try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: tls)) }
                    try channel.pipeline.syncOperations.addHandler(Connection(log: log, greets: greets, answer: answer))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        port = channel.localAddress?.port ?? 0
    }

    deinit { channel.close(promise: nil) }

    /// Every request so far.
    var requests: [Request] { log.all }

    var host: String { "127.0.0.1:\(port)" }

    func stop() async { try? await channel.close() }
}

/// Requests in the order of their arrival. The mutex guards them.
private final class RequestLog: Sendable {
    private let requests = Mutex<[FakeRegistry.Request]>([])
    var all: [FakeRegistry.Request] { requests.withLock { $0 } }
    func append(_ request: FakeRegistry.Request) { requests.withLock { $0.append(request) } }
}

/// One connection; lives on its event loop alone.
private final class Connection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let log: RequestLog
    private let answer: @Sendable (FakeRegistry.Request) -> FakeRegistry.Reply
    private let greets: Bool
    private var received: [UInt8] = []

    init(
        log: RequestLog, greets: Bool, answer: @escaping @Sendable (FakeRegistry.Request) -> FakeRegistry.Reply
    ) {
        self.log = log
        self.greets = greets
        self.answer = answer
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        received += Array(unwrapInboundIn(data).readableBytesView)
        // A TLS hello where plain HTTP is spoken: the answer of Go's servers.
        if received.first == 0x16 {
            received = []
            var reply = FakeRegistry.Reply()
            reply.raw = Array("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n".utf8)
            reply.ending = .close
            send(reply, context)
            return
        }
        while let end = Self.headEnd(received) {
            let text = String(decoding: received[..<end], as: UTF8.self)
            received.removeFirst(end + 4)
            guard let request = Self.parse(text) else {
                context.close(promise: nil)
                return
            }
            if greets, request.path == "/v2/" {
                send(FakeRegistry.Reply(200), context)
                continue
            }
            log.append(request)
            send(answer(request), context)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private static func headEnd(_ bytes: [UInt8]) -> Int? {
        guard bytes.count >= 4 else { return nil }
        return (0...(bytes.count - 4)).first { Array(bytes[$0..<($0 + 4)]) == [13, 10, 13, 10] }
    }

    private static func parse(_ text: String) -> FakeRegistry.Request? {
        var lines = text.split(separator: "\r\n").map(String.init)
        guard !lines.isEmpty else { return nil }
        let first = lines.removeFirst().split(separator: " ")
        guard first.count == 3 else { return nil }
        let target = first[1].split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        var headers: [String: String] = [:]
        for line in lines {
            guard let colon = line.firstIndex(of: ":") else { return nil }
            let value = line[line.index(after: colon)...].drop { $0 == " " }
            headers[line[..<colon].lowercased(), default: ""] += String(value)
        }
        return FakeRegistry.Request(
            method: String(first[0]), path: String(target[0]), query: target.count > 1 ? String(target[1]) : "",
            headers: headers)
    }

    private func send(_ reply: FakeRegistry.Reply, _ context: ChannelHandlerContext) {
        if let raw = reply.raw {
            write([ByteBuffer(bytes: raw)], interval: .zero, ending: reply.ending, context)
            return
        }
        var head = "HTTP/1.1 \(reply.status) Status\r\n"
        for (name, value) in reply.headers { head += "\(name): \(value)\r\n" }
        head += reply.isChunked ? "Transfer-Encoding: chunked\r\n" : ""
        head += reply.isChunked ? "" : "Content-Length: \(reply.statedLength ?? reply.body.count)\r\n"
        var messages = [ByteBuffer(string: head + "\r\n")]
        let length = min(reply.body.count, reply.cut ?? .max)
        let size = max(1, reply.pieces?.size ?? length)
        for start in stride(from: 0, to: length, by: size) {
            let piece = reply.body[start..<min(start + size, length)]
            var message = ByteBuffer()
            if reply.isChunked { message.writeString("\(String(piece.count, radix: 16))\r\n") }
            message.writeBytes(piece)
            if reply.isChunked { message.writeString("\r\n") }
            messages.append(message)
        }
        if reply.isChunked, reply.cut == nil { messages.append(ByteBuffer(string: "0\r\n\r\n")) }
        write(messages[...], interval: reply.pieces?.interval ?? .zero, ending: reply.ending, context)
    }

    private func write(
        _ messages: ArraySlice<ByteBuffer>, interval: TimeAmount, ending: FakeRegistry.Ending,
        _ context: ChannelHandlerContext
    ) {
        guard let first = messages.first, context.channel.isActive else { return }
        let rest = messages.dropFirst()
        let written = context.writeAndFlush(wrapOutboundOut(first))
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        if rest.isEmpty {
            // Closing earlier would drop what the socket has not taken yet.
            if case .close = ending { written.whenComplete { _ in bound.value.1.close(promise: nil) } }
        } else if interval == .zero {
            write(rest, interval: interval, ending: ending, context)
        } else {
            context.eventLoop.scheduleTask(in: interval) {
                bound.value.0.write(rest, interval: interval, ending: ending, bound.value.1)
            }
        }
    }
}
