// Preloaded into a program under test: everything that it does to the files below one directory is written down, or one of
// these operations fails. It lies below the store and below LMDB, so both are covered; the store itself has no part in it.
//
// DISKFAULTS_ROOT   the directory; without it nothing happens
// DISKFAULTS_LOG    where operations are written down (DiskLog.swift reads it)
// DISKFAULTS_FAIL   "N ERRNO": the Nth operation fails with that error, without having happened
//
// Memory that LMDB maps is not seen: lock.mdb, which holds nothing that survives a process. It is left out altogether.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static char root[4096];
static size_t root_length;
static int log_fd = -1;
static long fail_at;
static int fail_with;
static atomic_long operations;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("DISKFAULTS_ROOT");
    if (!path || strlen(path) >= sizeof root) return;
    strcpy(root, path);
    const char *log = getenv("DISKFAULTS_LOG");
    if (log) log_fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    const char *fail = getenv("DISKFAULTS_FAIL");
    if (fail) sscanf(fail, "%ld %d", &fail_at, &fail_with);
    root_length = strlen(root);
}

static int below(const char *path) {
    if (!root_length || strncmp(path, root, root_length) != 0) return 0;
    if (path[root_length] != 0 && path[root_length] != '/') return 0;
    const char *name = strrchr(path, '/');
    return !(name && strcmp(name, "/lock.mdb") == 0);
}

// The path of an open file, if it is one of ours.
static int path_of(int fd, char path[4096]) {
    if (!root_length) return 0;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t length = readlink(link, path, 4095);
    if (length <= 0) return 0;
    path[length] = 0;
    return below(path);
}

static int path_at(int directory, const char *name, char path[4096]) {
    if (!root_length) return 0;
    if (name[0] == '/' || directory == AT_FDCWD) {
        snprintf(path, 4096, "%s", name);
        return below(path);
    }
    if (!path_of(directory, path)) return 0;
    const size_t length = strlen(path);
    snprintf(path + length, 4096 - length, "/%s", name);
    return below(path);
}

// One record: kind, durable at once, identity of the file, offset, lengths of path and data, both.
static void note(char kind, int durable, uint64_t file, uint64_t offset, const char *path, const void *data, size_t size) {
    if (log_fd < 0) return;
    struct __attribute__((packed)) {
        char kind;
        uint8_t durable;
        uint16_t path_length;
        uint32_t size;
        uint64_t file, offset;
    } head = {kind, (uint8_t)durable, (uint16_t)strlen(path), (uint32_t)size, file, offset};
    struct iovec parts[3] = {{&head, sizeof head}, {(void *)path, head.path_length}, {(void *)data, size}};
    syscall(SYS_writev, log_fd, parts, 3);
}

static uint64_t identity(int fd) {
    struct stat info;
    return fstat(fd, &info) == 0 ? info.st_ino : 0;
}

// Counts an operation; true when it is the one to fail.
static int fails(void) {
    const long number = atomic_fetch_add(&operations, 1) + 1;
    if (number != fail_at) return 0;
    errno = fail_with;
    return 1;
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int is_durable(int fd) { return (fcntl(fd, F_GETFL) & O_DSYNC) != 0; }

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    REAL(pwrite);
    char path[4096];
    if (!path_of(fd, path)) return real(fd, data, size, offset);
    if (fails()) return -1;
    const ssize_t count = real(fd, data, size, offset);
    if (count > 0) note('W', is_durable(fd), identity(fd), (uint64_t)offset, path, data, (size_t)count);
    return count;
}
ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset) { return pwrite(fd, data, size, offset); }

static void note_parts(
    int fd, const char *path, const struct iovec *parts, int count, uint64_t place, ssize_t written) {
    size_t left = written > 0 ? (size_t)written : 0;
    for (int i = 0; i < count && left > 0; i++) {
        const size_t size = parts[i].iov_len < left ? parts[i].iov_len : left;
        note('W', is_durable(fd), identity(fd), place, path, parts[i].iov_base, size);
        place += size;
        left -= size;
    }
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    REAL(pwritev);
    char path[4096];
    if (!path_of(fd, path)) return real(fd, parts, count, offset);
    if (fails()) return -1;
    const ssize_t written = real(fd, parts, count, offset);
    note_parts(fd, path, parts, count, (uint64_t)offset, written);
    return written;
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset) { return pwritev(fd, parts, count, offset); }

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    char path[4096];
    if (fd == 1 && root_length) note('P', 1, 0, 0, "", data, size);
    if (!path_of(fd, path)) return real(fd, data, size);
    if (fails()) return -1;
    const off_t offset = lseek(fd, 0, SEEK_CUR);
    const ssize_t count = real(fd, data, size);
    if (count > 0) note('W', is_durable(fd), identity(fd), (uint64_t)offset, path, data, (size_t)count);
    return count;
}

// LMDB's way to write several pages in a row: the position is where lseek left it.
ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    char path[4096];
    if (!path_of(fd, path)) return real(fd, parts, count);
    if (fails()) return -1;
    uint64_t place = (uint64_t)lseek(fd, 0, SEEK_CUR);
    const ssize_t written = real(fd, parts, count);
    note_parts(fd, path, parts, count, place, written);
    return written;
}

static int synced(int fd, int (*call)(int)) {
    char path[4096];
    if (!path_of(fd, path)) return call(fd);
    if (fails()) return -1;
    const int result = call(fd);
    if (result == 0) note('S', 1, identity(fd), 0, path, "", 0);
    return result;
}
int fdatasync(int fd) {
    REAL(fdatasync);
    return synced(fd, real);
}
int fsync(int fd) {
    REAL(fsync);
    return synced(fd, real);
}

int ftruncate(int fd, off_t size) {
    REAL(ftruncate);
    char path[4096];
    if (!path_of(fd, path)) return real(fd, size);
    if (fails()) return -1;
    const int result = real(fd, size);
    if (result == 0) note('T', 0, identity(fd), (uint64_t)size, path, "", 0);
    return result;
}
int ftruncate64(int fd, off_t size) { return ftruncate(fd, size); }

// A hole reads as zeros: to whoever looks at the file it is a write of them.
int fallocate(int fd, int mode, off_t offset, off_t length) {
    REAL(fallocate);
    char path[4096];
    if (!path_of(fd, path)) return real(fd, mode, offset, length);
    if (fails()) return -1;
    const int result = real(fd, mode, offset, length);
    if (result != 0 || !(mode & FALLOC_FL_PUNCH_HOLE)) return result;
    void *zeros = calloc(1, (size_t)length);
    if (!zeros) abort();
    note('W', 0, identity(fd), (uint64_t)offset, path, zeros, (size_t)length);
    free(zeros);
    return 0;
}
int fallocate64(int fd, int mode, off_t offset, off_t length) { return fallocate(fd, mode, offset, length); }

static int opened(int directory, const char *name, int flags, mode_t mode) {
    char path[4096];
    if (!(flags & O_CREAT) || !path_at(directory, name, path))
        return (int)syscall(SYS_openat, directory, name, flags, mode);
    struct stat info;
    const int isNew = fstatat(directory, name, &info, AT_SYMLINK_NOFOLLOW) != 0;
    if (isNew && fails()) return -1;
    const int fd = (int)syscall(SYS_openat, directory, name, flags, mode);
    if (fd >= 0 && isNew) note('C', 0, identity(fd), 0, path, "", 0);
    return fd;
}
#define OPEN(name, ...) \
    int name(__VA_ARGS__, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        const mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);
OPEN(open, const char *path) return opened(AT_FDCWD, path, flags, mode); }
OPEN(open64, const char *path) return opened(AT_FDCWD, path, flags, mode); }
OPEN(openat, int directory, const char *path) return opened(directory, path, flags, mode); }
OPEN(openat64, int directory, const char *path) return opened(directory, path, flags, mode); }

int rename(const char *from, const char *to) {
    REAL(rename);
    char path[4096];
    if (!path_at(AT_FDCWD, to, path)) return real(from, to);
    if (fails()) return -1;
    const int result = real(from, to);
    if (result == 0) note('R', 0, 0, 0, from, to, strlen(to));
    return result;
}

int mkdir(const char *name, mode_t mode) {
    REAL(mkdir);
    char path[4096];
    struct stat info;
    if (!path_at(AT_FDCWD, name, path) || lstat(name, &info) == 0) return real(name, mode);
    if (fails()) return -1;
    const int result = real(name, mode);
    if (result == 0) note('M', 0, lstat(name, &info) == 0 ? info.st_ino : 0, 0, path, "", 0);
    return result;
}

static int removed(int directory, const char *name, int flags) {
    char path[4096];
    const int ours = path_at(directory, name, path);
    const int result = (int)syscall(SYS_unlinkat, directory, name, flags);
    if (ours && result == 0) note('U', 0, 0, 0, path, "", 0);
    return result;
}
int unlinkat(int directory, const char *name, int flags) { return removed(directory, name, flags); }
int unlink(const char *name) { return removed(AT_FDCWD, name, 0); }
