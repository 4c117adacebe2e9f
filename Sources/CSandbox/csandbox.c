// The parent's side: clone3 with the namespaces, the id maps, the reports; and the child's first steps.
#define _GNU_SOURCE
#include "csandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "interpreter.h"
#include "syscalls.h"

// Linux's signal set and action, not libc's.
enum { KERNEL_SIGSET = 8, LAST_SIGNAL = 64 };
struct kernel_sigaction {
    void *handler;
    unsigned long flags;
    void *restorer;
    uint64_t mask;
};

// Moves the five descriptors that the child keeps to 0...4 and closes all others: no lock, no socket and above all no
// other sandbox's lifeline stays open here.
static long arrange_descriptors(const int stdio[3], int control, int lifeline) {
    int wanted[FIRST_FREE] = {stdio[0], stdio[1], stdio[2], control, lifeline};
    for (int i = 0; i < FIRST_FREE; i++) {
        long copy = raw(SYS_fcntl, wanted[i], F_DUPFD_CLOEXEC, 64);
        if (copy < 0) return copy;
        wanted[i] = (int)copy;
    }
    for (int i = 0; i < FIRST_FREE; i++) {
        long result = raw(SYS_dup3, wanted[i], i, i < CONTROL ? 0 : O_CLOEXEC);
        if (result < 0) return result;
    }
    return raw(SYS_close_range, FIRST_FREE, ~0u, 0);
}

static void reset_signals(void) {
    struct kernel_sigaction standard = {0};
    for (int signal = 1; signal <= LAST_SIGNAL; signal++) {
        raw(SYS_rt_sigaction, signal, &standard, NULL, KERNEL_SIGSET);
    }
}

__attribute__((noreturn)) static void run_child(const struct csandbox_request *request, int control, int lifeline) {
    struct interpreter in = {.request = request, .root = -1};
    if (arrange_descriptors(request->stdio, control, lifeline) < 0) raw(SYS_exit_group, 126);
    reset_signals();
    if (request->namespaces & CSANDBOX_NEWUSER) {
        char go;
        // The parent writes the id maps first; the end of the lifeline says that it could not, or died.
        if (raw(SYS_read, LIFELINE, &go, 1) != 1) raw(SYS_exit_group, 126);
        raw(SYS_setresgid, 0, 0, 0);
        raw(SYS_setresuid, 0, 0, 0);
    }
    raw(SYS_setsid);
    // Pid 1 is a copy of the parent's memory: nobody in the sandbox may read it.
    raw(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
    raw(SYS_umask, 0);
    for (uint32_t i = 0; i < request->count; i++) {
        if (request->actions[i].op == CSANDBOX_INIT) become_init(&in, i + 1);
        long result = interpret(&in, &request->actions[i]);
        if (result < 0) {
            send_report(CSANDBOX_FAILED, (int)i, (int)-result, 0, in.message, -1);
            raw(SYS_exit_group, 126);
        }
    }
    send_report(CSANDBOX_FAILED, (int)request->count, EINVAL, 0, "the plan has no init action", -1);
    raw(SYS_exit_group, 126);
    __builtin_unreachable();
}

static int write_file(int pid, const char *name, const char *text) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    ssize_t count = write(fd, text, strlen(text));
    int error = errno;
    close(fd);
    errno = error;
    return count == (ssize_t)strlen(text) ? 0 : -1;
}

// Maps root of the sandbox, and nobody else, to the caller, and lets the child go on.
static int write_maps(int pid, int lifeline) {
    char map[64];
    if (write_file(pid, "setgroups", "deny") != 0) return -1;
    snprintf(map, sizeof map, "0 %u 1\n", (unsigned)geteuid());
    if (write_file(pid, "uid_map", map) != 0) return -1;
    snprintf(map, sizeof map, "0 %u 1\n", (unsigned)getegid());
    if (write_file(pid, "gid_map", map) != 0) return -1;
    return send(lifeline, "", 1, MSG_NOSIGNAL) == 1 ? 0 : -1;
}

static long clone_child(const struct csandbox_request *request, int *pidfd, int control, int lifeline) {
    uint64_t flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_PIDFD;
    if (request->namespaces & CSANDBOX_NEWUSER) flags |= CLONE_NEWUSER;
    if (request->namespaces & CSANDBOX_NEWNET) flags |= CLONE_NEWNET;
    struct clone_args args = {.flags = flags, .pidfd = (uint64_t)(uintptr_t)pidfd, .exit_signal = SIGCHLD};
    uint64_t all = ~0ull, before;
    // The child starts with everything blocked: no handler of the host program may run in it.
    raw(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, &all, &before, KERNEL_SIGSET);
    long pid = raw(SYS_clone3, &args, sizeof args);
    if (pid == 0) run_child(request, control, lifeline);
    raw(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &before, NULL, KERNEL_SIGSET);
    return pid;
}

static int fail(const char **stage, const char *what, int error) {
    *stage = what;
    errno = error;
    return -1;
}

int csandbox_spawn(const struct csandbox_request *request, struct csandbox_child *child, const char **stage) {
    int control[2], lifeline[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) != 0) return fail(stage, "socketpair", errno);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, lifeline) != 0) {
        int error = errno;
        close(control[0]);
        close(control[1]);
        return fail(stage, "socketpair", error);
    }
    int pidfd = -1;
    long pid = clone_child(request, &pidfd, control[1], lifeline[0]);
    close(control[1]);
    close(lifeline[0]);
    if (pid < 0) {
        close(control[0]);
        close(lifeline[1]);
        return fail(stage, "clone3", (int)-pid);
    }
    if ((request->namespaces & CSANDBOX_NEWUSER) && write_maps((int)pid, lifeline[1]) != 0) {
        int error = errno, status;
        close(lifeline[1]);
        close(control[0]);
        csandbox_reap(pidfd, &status);
        close(pidfd);
        return fail(stage, "write the user and group maps", error);
    }
    *child = (struct csandbox_child){.pid = (int)pid, .pidfd = pidfd, .control = control[0], .lifeline = lifeline[1]};
    return 0;
}

int csandbox_receive(int control, struct csandbox_report *report, int *fd) {
    struct iovec part = {.iov_base = report, .iov_len = sizeof *report};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } ancillary;
    struct msghdr header = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &ancillary, .msg_controllen = sizeof ancillary.bytes};
    *fd = -1;
    ssize_t count;
    do count = recvmsg(control, &header, MSG_CMSG_CLOEXEC);
    while (count < 0 && errno == EINTR);
    if (count == 0 || (count < 0 && errno == ECONNRESET)) return 0;
    if (count < 0) return -1;
    struct cmsghdr *first = CMSG_FIRSTHDR(&header);
    if (first && first->cmsg_level == SOL_SOCKET && first->cmsg_type == SCM_RIGHTS) {
        memcpy(fd, CMSG_DATA(first), sizeof *fd);
    }
    report->message[sizeof report->message - 1] = 0;
    if (count == sizeof *report) return 1;
    errno = EPROTO;
    return -1;
}

int csandbox_reap(int pidfd, int *status) {
    siginfo_t info = {0};
    int result;
    do result = waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED);
    while (result != 0 && errno == EINTR);
    if (result != 0) return -1;
    *status = info.si_code == CLD_EXITED ? info.si_status << 8 : info.si_status;
    return 0;
}

void csandbox_kill(int pidfd) { syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0); }

void csandbox_signal(int lifeline, uint8_t signal) { send(lifeline, &signal, 1, MSG_NOSIGNAL | MSG_DONTWAIT); }

int csandbox_set_window_size(int master, unsigned rows, unsigned columns) {
    struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
    return ioctl(master, TIOCSWINSZ, &size);
}
