// The sandbox's wire format: a plan lowered to a flat array, the call that starts it, and what it reports back.
#pragma once
#include <stddef.h>
#include <stdint.h>

enum csandbox_op {
    CSANDBOX_PROPAGATION = 1, // every mount becomes a slave of the host's
    CSANDBOX_MOUNT,           // a new filesystem of type `source` at `target`; `list` holds key, value pairs ("" = flag)
    CSANDBOX_BIND,            // the host's `source` at `target`
    CSANDBOX_MASK,            // nothing to see at `target`: /dev/null over a file, an empty tmpfs over a directory
    CSANDBOX_READONLY,        // `target` bound onto itself, read-only
    CSANDBOX_MKDIR,           // `target` and its missing parents, mode `a`, owner `b` (uid) and `c` (gid)
    CSANDBOX_SYMLINK,         // `target` pointing at `source`
    CSANDBOX_DEVICE,          // device `a`:`b` at `target`, bound from the host's `source` if mknod is refused; `c`: 1 is a block device
    CSANDBOX_WRITE,           // `size` bytes of `data` as the file `target`, mode `a`
    CSANDBOX_HOSTNAME,        // `source`
    CSANDBOX_LOOPBACK,        // bring `lo` up
    CSANDBOX_TERMINAL,        // a pty of the sandbox's own devpts as stdio, `a` rows by `b` columns; its master is reported
    CSANDBOX_PIVOT,           // the new root becomes /, the old one goes away
    CSANDBOX_INIT,            // this process becomes pid 1 for good; what follows runs in its child
    CSANDBOX_IDS,             // uid `a`, gid `b`, `size` supplementary groups in `data`
    CSANDBOX_CAPABILITIES,    // bounding, permitted and effective set = mask `a`; inheritable and ambient empty
    CSANDBOX_UMASK,           // `a`
    CSANDBOX_CHDIR,           // `target`
    CSANDBOX_SECRET,          // `size` bytes of `data` as a file in memory that is never swapped, bound at `target`: mode `a`, owner `b`:`c`
    CSANDBOX_LIMIT,           // resource limit number `a`: soft `b`, hard `c`
    CSANDBOX_EXEC,            // `list` = arguments, `data` = environment, both NULL-terminated
};

enum csandbox_flag {
    CSANDBOX_ROOT = 1,       // MOUNT, BIND: the result is the new root, staged on the host directory `target`
    CSANDBOX_OPTIONAL = 2,   // a missing target (or source of a BIND) skips the action
    CSANDBOX_NOFOLLOW = 4,   // a symlink anywhere in the target's path is an error
    CSANDBOX_RECURSIVE = 8,  // BIND, READONLY: with the mounts beneath
    CSANDBOX_CREATE = 16,    // MOUNT, BIND, SECRET: a missing target is made
    CSANDBOX_NO_GROUPS = 32, // IDS: leave the supplementary groups alone (setgroups is denied)
};

enum csandbox_attribute {
    CSANDBOX_ATTR_RDONLY = 1,
    CSANDBOX_ATTR_NOSUID = 2,
    CSANDBOX_ATTR_NODEV = 4,
    CSANDBOX_ATTR_NOEXEC = 8,
};

struct csandbox_action {
    uint32_t op;
    uint32_t flags;
    const char *source;
    const char *target;
    const char *base; // MOUNT: relative paths in `list` start here
    const char *const *list;
    const void *data;
    uint64_t size;
    uint64_t a; // MOUNT, BIND: csandbox_attribute
    uint64_t b;
    uint64_t c;
};

enum csandbox_namespace {
    CSANDBOX_NEWUSER = 1,
    CSANDBOX_NEWNET = 2,
};

struct csandbox_request {
    const struct csandbox_action *actions;
    uint32_t count;
    uint32_t namespaces; // on top of mount, pid, ipc and uts
    int stdio[3];
};

enum csandbox_report_kind {
    CSANDBOX_FAILED = 1, // action `index` failed with `error`; nothing runs any more
    CSANDBOX_TERMINAL_MASTER,
    CSANDBOX_STARTED, // the command was executed
    CSANDBOX_EXITED,  // the command ended with wait status `status`; every process of the sandbox is gone
};

struct csandbox_report {
    int32_t kind;
    int32_t index;
    int32_t error;
    int32_t status;
    char message[240]; // the kernel's own words, if it had any; NUL-terminated
};

struct csandbox_child {
    int pid;
    int pidfd;
    int control;  // reports come from here, one datagram each
    int lifeline; // a byte is a signal for the command; closing it ends the sandbox
};

// Starts the sandbox. 0, or -1 with errno and `*stage` naming what failed. Never leaves a process behind on failure.
int csandbox_spawn(const struct csandbox_request *request, struct csandbox_child *child, const char **stage);

// Reads one report (blocking). 1, 0 at the end, -1 with errno. `*fd` is a descriptor that came along, or -1.
int csandbox_receive(int control, struct csandbox_report *report, int *fd);

// Waits for the process behind `pidfd` alone and reaps it; its wait status, or -1 with errno.
int csandbox_reap(int pidfd, int *status);

// SIGKILL for the sandbox's pid 1, and with it for everything in it.
void csandbox_kill(int pidfd);

// Hands a signal to the command by way of pid 1. Never raises SIGPIPE, never blocks.
void csandbox_signal(int lifeline, uint8_t signal);

int csandbox_set_window_size(int master, unsigned rows, unsigned columns);
