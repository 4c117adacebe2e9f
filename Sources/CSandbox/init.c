// Pid 1 of the sandbox: starts the command as its child, reaps what is orphaned, forwards signals, reports the end.
//
// It outlives nobody: when the lifeline closes, because the parent let go of it or died, it exits, and the kernel kills
// every other process of the pid namespace and takes the mounts away with the mount namespace.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "interpreter.h"
#include "syscalls.h"

enum { STACK_SIZE = 64 * 1024, KERNEL_SIGSET = 8 };

struct command {
    struct interpreter *in;
    uint32_t next;  // in: the first action; out: the one that failed
    long result;    // out: 0, or -errno of that action
};

// The command's side until execve. It shares memory with pid 1, which the kernel suspends meanwhile (CLONE_VFORK).
static void run_command(void *argument) {
    struct command *command = argument;
    const struct csandbox_request *request = command->in->request;
    uint64_t none = 0;
    raw(SYS_setsid);
    if (command->in->terminal) raw(SYS_ioctl, 0, TIOCSCTTY, 0);
    raw(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &none, NULL, KERNEL_SIGSET);
    for (; command->next < request->count; command->next++) {
        command->result = interpret(command->in, &request->actions[command->next]);
        if (command->result < 0) raw(SYS_exit_group, 127);
    }
    command->result = -ENOEXEC; // the plan ended without an exec
    raw(SYS_exit_group, 127);
}

static long start_command(struct command *command) {
    static char stack[STACK_SIZE] __attribute__((aligned(16)));
    struct clone_args args = {
        .flags = CLONE_VM | CLONE_VFORK,
        .exit_signal = SIGCHLD,
        .stack = (uint64_t)(uintptr_t)stack,
        .stack_size = STACK_SIZE,
    };
    return raw_clone3_call(&args, run_command, command);
}

// Reaps everything that has ended. True when the command is among it, with its wait status.
static int reap(long command, int *status, int flags) {
    int ended = 0;
    for (;;) {
        int one = 0;
        long pid = raw(SYS_wait4, -1, &one, flags, NULL);
        if (pid == command) {
            *status = one;
            ended = 1;
        }
        if (pid == -EINTR) continue;
        if (pid <= 0) return ended;
    }
}

static void forward(long command) {
    uint8_t signals[64];
    long count = raw(SYS_read, LIFELINE, signals, sizeof signals);
    if (count == 0 || (count < 0 && count != -EINTR && count != -EAGAIN)) raw(SYS_exit_group, 137);
    for (long i = 0; i < count; i++) {
        if (signals[i] > 0 && signals[i] <= 64) raw(SYS_kill, command, signals[i]);
    }
}

static int wait_for(long command, long signals) {
    int status = 0;
    struct pollfd watched[2] = {{.fd = (int)signals, .events = POLLIN}, {.fd = LIFELINE, .events = POLLIN}};
    while (!reap(command, &status, WNOHANG)) {
        raw(SYS_ppoll, watched, 2, NULL, NULL, 0);
        char drained[1024];
        if (watched[0].revents) raw(SYS_read, signals, drained, sizeof drained);
        if (watched[1].revents) forward(command);
    }
    return status;
}

void become_init(struct interpreter *in, uint32_t first) {
    uint64_t child_signal = 1ull << (SIGCHLD - 1);
    long signals = raw(SYS_signalfd4, -1, &child_signal, KERNEL_SIGSET, O_CLOEXEC | O_NONBLOCK);
    struct command command = {.in = in, .next = first};
    long pid = signals < 0 ? signals : start_command(&command);
    if (pid < 0 || command.result < 0) {
        int error = (int)-(pid < 0 ? pid : command.result);
        send_report(CSANDBOX_FAILED, (int)command.next, error, 0, in->message, -1);
        raw(SYS_exit_group, 127);
    }
    // Only the command holds its streams from here on, so that their readers see the end.
    raw(SYS_close_range, 0, 2, 0);
    send_report(CSANDBOX_STARTED, 0, 0, 0, NULL, -1);
    int status = wait_for(pid, signals);
    // Nothing may write to the root any more once the end is reported.
    raw(SYS_kill, -1, SIGKILL);
    reap(pid, &(int){0}, 0);
    send_report(CSANDBOX_EXITED, 0, 0, status, NULL, -1);
    raw(SYS_exit_group, WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
    __builtin_unreachable();
}

void send_report(int kind, int index, int error, int status, const char *message, int fd) {
    struct csandbox_report report = {.kind = kind, .index = index, .error = error, .status = status};
    for (size_t i = 0; message && message[i] && i + 1 < sizeof report.message; i++) report.message[i] = message[i];
    struct iovec part = {.iov_base = &report, .iov_len = sizeof report};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        header.msg_control = &control;
        header.msg_controllen = sizeof control.bytes;
        control.header = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        *(int *)CMSG_DATA(&control.header) = fd;
    }
    while (raw(SYS_sendmsg, CONTROL, &header, MSG_NOSIGNAL) == -EINTR) {}
}
