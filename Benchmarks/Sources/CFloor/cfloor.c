#define _GNU_SOURCE
#include "cfloor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static int64_t nanoseconds(struct timeval t) { return t.tv_sec * INT64_C(1000000000) + t.tv_usec * INT64_C(1000); }

static int exit_status(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

int floor_spawn(char *const argv[], char *const envp[], int log_fd, struct floor_usage *usage) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    for (int stream = 1; stream <= 2; stream++) {
        if (log_fd >= 0)
            posix_spawn_file_actions_adddup2(&actions, log_fd, stream);
        else
            posix_spawn_file_actions_addopen(&actions, stream, "/dev/null", O_WRONLY, 0);
    }

    pid_t child;
    int64_t start = now();
    int error = posix_spawnp(&child, argv[0], &actions, NULL, argv, envp);
    posix_spawn_file_actions_destroy(&actions);
    if (error) return error;
    int status;
    struct rusage used;
    while (wait4(child, &status, 0, &used) < 0)
        if (errno != EINTR) return errno;
    usage->wall_ns = now() - start;
    usage->cpu_ns = nanoseconds(used.ru_utime) + nanoseconds(used.ru_stime);
    usage->max_rss_kib = used.ru_maxrss;
    usage->status = exit_status(status);
    return 0;
}

struct step {
    const char *options;
    const char *merged;
};

// Runs in the child: its exit status is 100 and more when something other than /bin/true ended it.
static int step_main(void *argument) {
    const struct step *step = argument;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) return 100;
    if (mount("overlay", step->merged, "overlay", 0, step->options)) return 101;
    if (chdir(step->merged)) return 102;
    if (syscall(SYS_pivot_root, ".", ".")) return 103;
    if (umount2(".", MNT_DETACH) || chdir("/")) return 104;
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL)) return 105;
    char *const argv[] = {"/bin/true", NULL};
    char *const envp[] = {NULL};
    execve(argv[0], argv, envp);
    return 106;
}

static int one_step(const char *lower, const char *scratch, int number, char *stack_end) {
    char upper[PATH_MAX], work[PATH_MAX], merged[PATH_MAX], options[3 * PATH_MAX + 64];
    snprintf(upper, sizeof upper, "%s/u%d", scratch, number);
    snprintf(work, sizeof work, "%s/w%d", scratch, number);
    snprintf(merged, sizeof merged, "%s/m%d", scratch, number);
    if (mkdir(upper, 0755) || mkdir(work, 0755) || mkdir(merged, 0755)) return errno;
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work);

    struct step step = {options, merged};
    int flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_VFORK | CLONE_VM | SIGCHLD;
    pid_t child = clone(step_main, stack_end, flags, &step);
    if (child < 0) return errno;
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) return errno;
    int code = exit_status(status);
    return code == 0 ? 0 : code == 101 || code == 105 ? EPERM : ECHILD;
}

int floor_steps(const char *lower, const char *scratch, int count, int64_t *wall_ns) {
    const size_t stack_size = 64 * 1024;
    char *stack = malloc(stack_size);
    if (!stack) return ENOMEM;
    int64_t start = now();
    int error = 0;
    for (int i = 0; i < count && !error; i++) error = one_step(lower, scratch, i, stack + stack_size);
    *wall_ns = now() - start;
    free(stack);
    return error;
}
