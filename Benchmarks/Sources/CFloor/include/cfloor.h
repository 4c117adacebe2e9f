// The floors: what the machine takes for the same work without a builder around it.

#ifndef CFLOOR_H
#define CFLOOR_H

#include <stdint.h>

/// How a process went.
struct floor_usage {
    int64_t wall_ns;
    int64_t cpu_ns;
    int64_t max_rss_kib;
    /// The exit status, or 128 and the signal's number.
    int status;
};

/// Runs `argv[0]` (found on PATH) with all three streams on /dev/null, or what it writes on `log_fd` when that is not
/// negative, and waits for it. 0 or an errno.
int floor_spawn(char *const argv[], char *const envp[], int log_fd, struct floor_usage *usage);

/// The least that one RUN step can be: clone with mount, pid, ipc and uts namespaces, an overlay of a fresh upper
/// directory on `lower`, pivot_root, proc, exec of `/bin/true`, wait. Does that `count` times in `scratch`, which is an
/// empty directory. 0 and the total in `wall_ns`, or an errno.
int floor_steps(const char *lower, const char *scratch, int count, int64_t *wall_ns);

#endif
