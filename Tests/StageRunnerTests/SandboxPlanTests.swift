// The plan's canonical text, without any privilege.

import StageRunner
import Testing

@Suite struct SandboxPlanTests {
    private let root = OverlayRoot(
        base: "/state", lowers: ["workspaces/b", "workspaces/a", "workspaces/stub"], upper: "runs/1/upper",
        work: "runs/1/work", staging: "/state/runs/1/root")

    @Test func textOfARun() {
        var layout = SandboxLayout(root: root, hostname: "stagerun")
        layout.binds = [.init(source: "/state/runs/1/resolv.conf", target: "/etc/resolv.conf", isOptional: true)]
        let plan = layout.plan(
            .init(
                arguments: ["/bin/sh", "-c", "echo \"hello\"\nworld"], environment: ["PATH=/usr/bin:/bin", "EMPTY="],
                workingDirectory: "/app", uid: 1000, gid: 100, groups: [100, 27]))
        #expect(
            plan.text == """
                namespaces mount pid ipc uts
                detach mount propagation
                mount overlay at / staged on /state/runs/1/root from /state
                  lowerdir+=workspaces/b
                  lowerdir+=workspaces/a
                  lowerdir+=workspaces/stub
                  upperdir=runs/1/upper
                  workdir=runs/1/work
                  index=off
                  metacopy=off
                  redirect_dir=nofollow
                  xino=off
                  uuid=null
                  volatile
                mount proc at /proc nosuid nodev noexec no-symlinks
                mount sysfs at /sys ro nosuid nodev noexec no-symlinks
                mount tmpfs at /dev nosuid no-symlinks -o mode=755 -o size=65536k
                make device /dev/null 1:3
                make device /dev/zero 1:5
                make device /dev/full 1:7
                make device /dev/random 1:8
                make device /dev/urandom 1:9
                make device /dev/tty 5:0
                link /dev/ptmx to pts/ptmx
                link /dev/fd to /proc/self/fd
                link /dev/stdin to /proc/self/fd/0
                link /dev/stdout to /proc/self/fd/1
                link /dev/stderr to /proc/self/fd/2
                link /dev/core to /proc/kcore
                make directory /dev/pts 0755 0:0
                make directory /dev/shm 0755 0:0
                make directory /dev/mqueue 0755 0:0
                mount devpts at /dev/pts nosuid noexec no-symlinks -o newinstance -o mode=620 -o ptmxmode=666 -o gid=5
                mount tmpfs at /dev/shm nosuid nodev noexec no-symlinks -o mode=1777 -o size=65536k
                mount mqueue at /dev/mqueue nosuid nodev noexec no-symlinks
                bind /state/runs/1/resolv.conf at /etc/resolv.conf recursive optional
                mask /proc/acpi
                mask /proc/asound
                mask /proc/interrupts
                mask /proc/kcore
                mask /proc/keys
                mask /proc/latency_stats
                mask /proc/sched_debug
                mask /proc/scsi
                mask /proc/timer_list
                mask /proc/timer_stats
                mask /sys/firmware
                mask /sys/devices/virtual/powercap
                make /proc/bus read-only
                make /proc/fs read-only
                make /proc/irq read-only
                make /proc/sys read-only
                make /proc/sysrq-trigger read-only
                make directory /app 0755 0:0
                set hostname stagerun
                pivot to the new root
                become init
                umask 0022
                capabilities CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP
                ids 1000:100 groups [100 27]
                change directory to /app
                execute
                  arg /bin/sh
                  arg -c
                  arg "echo \\"hello\\"\\nworld"
                  env PATH=/usr/bin:/bin
                  env EMPTY=

                """)
    }

    @Test func withoutPrivilegesAndWithoutNetwork() {
        var layout = SandboxLayout(root: root, hostname: "h")
        layout.userNamespace = true
        layout.isolatesNetwork = true
        layout.terminal = (24, 80)
        let lines = layout.plan(.init(arguments: ["/x"], environment: [])).text.split(separator: "\n").map(String.init)
        #expect(lines.first == "namespaces mount pid ipc uts user network")
        #expect(lines.contains("bring the loopback device up"))
        #expect(lines.contains("mount sysfs at /sys ro nosuid nodev noexec no-symlinks"))
        #expect(lines.contains("ids 0:0 groups kept"))
        #expect(lines.contains("open a terminal 24x80"))
        #expect(!lines.contains { $0.contains("gid=5") })

        layout.isolatesNetwork = false
        let shared = layout.plan(.init(arguments: ["/x"], environment: [])).text
        #expect(shared.contains("bind /sys at /sys ro nosuid nodev noexec recursive no-symlinks\n"))
        #expect(!shared.contains("loopback"))
    }

    @Test func dockersCapabilities() {
        #expect(CapabilitySet.standard.rawValue == 0xA804_25FB)
        #expect(CapabilitySet(["NO_SUCH"]).isEmpty)
    }
}
