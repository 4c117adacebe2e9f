// The options of a build that say how its RUN instructions run and what they are lent.

import ArgumentParser
import Glibc
import StageDockerfile
import StageEngine
import StageGraph
import StageRun

struct CommandOptions: ParsableArguments, Sendable {
    @Option(
        name: .customLong("secret"),
        help: ArgumentHelp(
            "A secret for RUN --mount=type=secret: id=NAME,src=FILE or id=NAME,env=VARIABLE; may be repeated.",
            valueName: "secret"))
    var secrets: [String] = []

    @Option(
        name: .customLong("ssh"),
        help: ArgumentHelp(
            "An agent for RUN --mount=type=ssh: default, ID=SOCKET, or ID=KEYFILE[,KEYFILE]; may be repeated.",
            valueName: "id[=path,...]"))
    var agents: [String] = []

    @Option(
        name: .customLong("allow"),
        help: ArgumentHelp(
            "A right that RUN asks for: network.host or security.insecure; may be repeated.", valueName: "right"))
    var rights: [String] = []

    @Option(help: ArgumentHelp("The network of RUN: default, none or host.", valueName: "mode"))
    var network: String?

    @Option(
        name: .customLong("add-host"),
        help: ArgumentHelp("A line for /etc/hosts of RUN; may be repeated.", valueName: "name:address"))
    var hosts: [String] = []

    @Option(help: ArgumentHelp("The size of /dev/shm of RUN (default: 64m).", valueName: "size"))
    var shmSize: String?

    @Option(
        name: .customLong("ulimit"),
        help: ArgumentHelp(
            "A limit of RUN, such as nofile=1024:2048; may be repeated.", valueName: "name=soft[:hard]"))
    var limits: [String] = []

    @Option(help: .hidden)
    var cgroupParent: String?

    /// Puts what was given into `request`.
    func apply(to request: inout BuildRequest, _ environment: (String) -> String?) throws(UsageError) {
        if let cgroupParent {
            throw UsageError(
                "--cgroup-parent \(cgroupParent): commands stay in the cgroup that stagerun runs in; start stagerun in "
                    + "the one that you want (systemd-run --scope --slice=NAME stagerun build ...)")
        }
        for text in secrets {
            let secret = try SecretOption(parsing: text, environment: environment)
            request.loans.secrets[secret.id] = secret.origin
        }
        for text in agents {
            let agent = try AgentOption(parsing: text, environment: environment)
            (request.loans.agents[agent.id], request.keys[agent.id]) = (agent.socket, agent.keys)
        }
        for text in rights { request.entitlements.insert(try Self.entitlement(text)) }
        if let network {
            request.run.network = try Self.mode(network)
            if request.run.network == .host { request.entitlements.insert(.hostNetwork) }
        }
        for text in hosts { request.run.extraHosts.append(try ExtraHost(parsing: text)) }
        if let shmSize {
            guard let bytes = MemorySize.bytes(shmSize), bytes > 0 else {
                throw UsageError("--shm-size \(shmSize): write a size such as 128m or 1g")
            }
            request.run.sharedMemory = bytes
        }
        for text in limits {
            let limit = try ResourceLimit(parsing: text)
            request.run.limits.removeAll { $0.resource == limit.resource }
            request.run.limits.append(limit)
        }
    }

    private static func entitlement(_ text: String) throws(UsageError) -> Entitlement {
        if let right = Entitlement(rawValue: text) { return right }
        if text == "device" || text.hasPrefix("device=") {
            throw UsageError("--allow \(text): stagerun gives commands no CDI devices")
        }
        let names = Entitlement.allCases.map(\.rawValue)
        let near = Spelling.closest(text, among: names).map { "; did you mean \($0)?" } ?? ""
        throw UsageError("--allow \(text): there is no such right\(near) It is \(names.joined(separator: " or "))")
    }

    private static func mode(_ text: String) throws(UsageError) -> StageDockerfile.RunCommand.Network {
        if let mode = StageDockerfile.RunCommand.Network(rawValue: text) { return mode }
        let names = StageDockerfile.RunCommand.Network.allCases.map(\.rawValue)
        let near = Spelling.closest(text, among: names).map { "; did you mean \($0)?" } ?? ""
        throw UsageError("--network \(text): there is no such mode\(near) It is \(names.joined(separator: ", "))")
    }
}

extension ExtraHost {
    /// `NAME:ADDRESS` or `NAME=ADDRESS`; an IPv6 address may stand in brackets. `host-gateway` is this machine.
    init(parsing text: String) throws(UsageError) {
        guard let separator = text.firstIndex(where: { $0 == "=" || $0 == ":" }), separator != text.startIndex else {
            throw UsageError("--add-host \(text): write NAME:ADDRESS")
        }
        let name = String(text[..<separator])
        var address = String(text[text.index(after: separator)...])
        if address.hasPrefix("["), address.hasSuffix("]") { address = String(address.dropFirst().dropLast()) }
        // Commands are on this machine's own network.
        if address == "host-gateway" { address = "127.0.0.1" }
        guard !name.utf8.contains(where: { $0 <= 0x20 || $0 == 0x7F }) else {
            throw UsageError("--add-host \(text): a host's name holds no blanks")
        }
        var room = in6_addr()
        guard inet_pton(AF_INET, address, &room) == 1 || inet_pton(AF_INET6, address, &room) == 1 else {
            throw UsageError("--add-host \(text): \"\(address)\" is no IP address")
        }
        self.init(name: name, address: address)
    }
}

extension ResourceLimit {
    /// `NAME=SOFT[:HARD]`; -1 is no limit.
    init(parsing text: String) throws(UsageError) {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let names = Resource.allCases.map(\.rawValue)
        guard let resource = Resource(rawValue: parts[0]) else {
            let near = Spelling.closest(parts[0], among: names).map { "; did you mean \($0)?" } ?? ""
            throw UsageError("--ulimit \(text): there is no limit \(parts[0])\(near)")
        }
        func number(_ text: Substring) -> UInt64? { text == "-1" ? .max : UInt64(text) }
        let values = parts.count == 2 ? parts[1].split(separator: ":", omittingEmptySubsequences: false) : []
        guard (1...2).contains(values.count), let soft = number(values[0]), let hard = number(values[values.count - 1])
        else { throw UsageError("--ulimit \(text): write \(parts[0])=SOFT or \(parts[0])=SOFT:HARD, with numbers") }
        guard soft <= hard else { throw UsageError("--ulimit \(text): the soft limit is above the hard one") }
        self.init(resource, soft: soft, hard: hard)
    }
}
