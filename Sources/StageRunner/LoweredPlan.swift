// A plan as the flat C array that the interpreter reads, with the memory that it points into.

import CSandbox
import Glibc

/// Owns the C form of a plan. Built before clone3, so that the child finds everything in place and allocates nothing.
struct LoweredPlan: ~Copyable {
    private let storage: Storage
    let actions: UnsafeBufferPointer<csandbox_action>
    let namespaces: UInt32

    /// Fails with `invalidPlan` for a string with a NUL in it, which C would cut short.
    init(_ plan: SandboxPlan) throws(SandboxError) {
        let storage = Storage()
        let array = UnsafeMutableBufferPointer<csandbox_action>.allocate(capacity: plan.actions.count)
        storage.blocks.append(UnsafeMutableRawPointer(array.baseAddress))
        for (index, action) in plan.actions.enumerated() {
            array.initializeElement(at: index, to: try storage.lower(action))
        }
        self.storage = storage
        actions = UnsafeBufferPointer(array)
        var bits: UInt32 = 0
        if plan.userNamespace { bits |= CSANDBOX_NEWUSER.rawValue }
        if plan.networkNamespace { bits |= CSANDBOX_NEWNET.rawValue }
        namespaces = bits
    }
}

/// The blocks that the C array points into; freed together.
private final class Storage {
    var blocks: [UnsafeMutableRawPointer?] = []

    deinit { for block in blocks { block?.deallocate() } }

    func string(_ text: String) throws(SandboxError) -> UnsafePointer<CChar> {
        let count = text.utf8.count
        let copy = UnsafeMutablePointer<CChar>.allocate(capacity: count + 1)
        blocks.append(UnsafeMutableRawPointer(copy))
        for (index, byte) in text.utf8.enumerated() {
            if byte == 0 { throw .invalidPlan("\(quoted(text)) has a NUL byte in it") }
            copy[index] = CChar(bitPattern: byte)
        }
        copy[count] = 0
        return UnsafePointer(copy)
    }

    func list(_ texts: [String]) throws(SandboxError) -> UnsafePointer<UnsafePointer<CChar>?> {
        let array = UnsafeMutablePointer<UnsafePointer<CChar>?>.allocate(capacity: texts.count + 1)
        blocks.append(UnsafeMutableRawPointer(array))
        for (index, text) in texts.enumerated() { array[index] = try string(text) }
        array[texts.count] = nil
        return UnsafePointer(array)
    }

    func data<T: BitwiseCopyable>(_ values: [T]) -> UnsafeRawPointer {
        let copy = UnsafeMutablePointer<T>.allocate(capacity: max(1, values.count))
        blocks.append(UnsafeMutableRawPointer(copy))
        copy.initialize(from: values, count: values.count)
        return UnsafeRawPointer(copy)
    }

    func lower(_ action: SandboxAction) throws(SandboxError) -> csandbox_action {
        var c = csandbox_action()
        switch action {
        case .detachPropagation: c.op = CSANDBOX_PROPAGATION.rawValue
        case .overlay, .stack, .directoryRoot, .mount, .bind, .mask, .makeReadOnly: try lowerMount(action, &c)
        case .makeDirectory, .symlink, .device, .write, .secret: try lowerNode(action, &c)
        case .hostname(let name):
            c.op = CSANDBOX_HOSTNAME.rawValue
            c.source = try string(name)
        case .loopbackUp: c.op = CSANDBOX_LOOPBACK.rawValue
        case .terminal(let rows, let columns):
            c.op = CSANDBOX_TERMINAL.rawValue
            c.a = UInt64(rows)
            c.b = UInt64(columns)
        case .pivot: c.op = CSANDBOX_PIVOT.rawValue
        case .becomeInit: c.op = CSANDBOX_INIT.rawValue
        case .ids, .capabilities, .limit, .umask, .changeDirectory, .execute: try lowerProcess(action, &c)
        }
        return c
    }

    private func lowerMount(_ action: SandboxAction, _ c: inout csandbox_action) throws(SandboxError) {
        switch action {
        case .overlay(let root):
            c.op = CSANDBOX_MOUNT.rawValue
            c.flags = CSANDBOX_ROOT.rawValue
            c.source = try string("overlay")
            c.target = try string(root.staging)
            c.base = try string(root.base)
            c.list = try list(root.options.flatMap { [$0.key, $0.value] })
        case .stack(let stack, let target):
            c.op = CSANDBOX_MOUNT.rawValue
            c.flags = CSANDBOX_CREATE.rawValue
            c.source = try string("overlay")
            c.target = try string(target)
            c.base = try string(stack.base)
            c.list = try list(stack.options.flatMap { [$0.key, $0.value] })
            c.a = MountAttributes.noDevices.rawValue
        case .directoryRoot(let source, let staging):
            c.op = CSANDBOX_BIND.rawValue
            c.flags = CSANDBOX_ROOT.rawValue | CSANDBOX_RECURSIVE.rawValue
            c.source = try string(source)
            c.target = try string(staging)
        case .mount(let type, let target, let options, let attributes, let rules):
            c.op = CSANDBOX_MOUNT.rawValue
            c.flags = rules.rawValue
            c.source = try string(type)
            c.target = try string(target)
            c.list = try list(options.flatMap(keyAndValue))
            c.a = attributes.rawValue
        case .bind(let source, let target, let attributes, let rules):
            c.op = CSANDBOX_BIND.rawValue
            c.flags = rules.rawValue
            c.source = try string(source)
            c.target = try string(target)
            c.a = attributes.rawValue
        case .mask(let target):
            c.op = CSANDBOX_MASK.rawValue
            c.flags = CSANDBOX_OPTIONAL.rawValue | CSANDBOX_NOFOLLOW.rawValue
            c.target = try string(target)
        case .makeReadOnly(let target):
            c.op = CSANDBOX_READONLY.rawValue
            c.flags = CSANDBOX_OPTIONAL.rawValue | CSANDBOX_NOFOLLOW.rawValue | CSANDBOX_RECURSIVE.rawValue
            c.target = try string(target)
        default: throw .invalidPlan("\(action.title) is no mount")
        }
    }

    private func lowerNode(_ action: SandboxAction, _ c: inout csandbox_action) throws(SandboxError) {
        switch action {
        case .makeDirectory(let target, let mode, let uid, let gid):
            c.op = CSANDBOX_MKDIR.rawValue
            c.target = try string(target)
            (c.a, c.b, c.c) = (UInt64(mode), UInt64(uid), UInt64(gid))
        case .symlink(let target, let destination):
            c.op = CSANDBOX_SYMLINK.rawValue
            c.source = try string(destination)
            c.target = try string(target)
        case .device(let target, let major, let minor, let isBlock):
            c.op = CSANDBOX_DEVICE.rawValue
            c.source = try string(target)
            c.target = c.source
            (c.a, c.b, c.c) = (UInt64(major), UInt64(minor), isBlock ? 1 : 0)
        case .secret(let target, let value, let mode, let uid, let gid):
            c.op = CSANDBOX_SECRET.rawValue
            c.flags = CSANDBOX_CREATE.rawValue
            c.target = try string(target)
            c.data = data(value.bytes)
            c.size = UInt64(value.bytes.count)
            (c.a, c.b, c.c) = (UInt64(mode), UInt64(uid), UInt64(gid))
        case .write(let target, let bytes, let mode):
            c.op = CSANDBOX_WRITE.rawValue
            c.target = try string(target)
            c.data = data(bytes)
            c.size = UInt64(bytes.count)
            c.a = UInt64(mode)
        default: throw .invalidPlan("\(action.title) makes no node")
        }
    }

    private func lowerProcess(_ action: SandboxAction, _ c: inout csandbox_action) throws(SandboxError) {
        switch action {
        case .ids(let uid, let gid, let groups):
            c.op = CSANDBOX_IDS.rawValue
            (c.a, c.b) = (UInt64(uid), UInt64(gid))
            if let groups {
                c.data = data(groups)
                c.size = UInt64(groups.count)
            } else {
                c.flags = CSANDBOX_NO_GROUPS.rawValue
            }
        case .capabilities(let set):
            c.op = CSANDBOX_CAPABILITIES.rawValue
            c.a = set.rawValue
        case .limit(let limit):
            c.op = CSANDBOX_LIMIT.rawValue
            (c.a, c.b, c.c) = (UInt64(limit.resource.number), limit.soft, limit.hard)
        case .umask(let mask):
            c.op = CSANDBOX_UMASK.rawValue
            c.a = UInt64(mask)
        case .changeDirectory(let path):
            c.op = CSANDBOX_CHDIR.rawValue
            c.target = try string(path)
        case .execute(let arguments, let environment):
            c.op = CSANDBOX_EXEC.rawValue
            c.list = try list(arguments)
            c.data = UnsafeRawPointer(try list(environment))
        default: throw .invalidPlan("\(action.title) is nothing that a process does")
        }
    }

    /// `key=value` in two; a bare option has an empty value.
    private func keyAndValue(_ option: String) -> [String] {
        guard let equals = option.firstIndex(of: "=") else { return [option, ""] }
        return [String(option[..<equals]), String(option[option.index(after: equals)...])]
    }
}
