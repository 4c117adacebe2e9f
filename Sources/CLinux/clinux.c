// Thin wrappers: one system call each, no policy.
#define _GNU_SOURCE
#include "clinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/types.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

const int clinux_o_path = O_PATH;
const int clinux_o_tmpfile = O_TMPFILE;
const int clinux_o_noatime = O_NOATIME;
const int clinux_o_directory = O_DIRECTORY;
const int clinux_o_nofollow = O_NOFOLLOW;
const int clinux_o_cloexec = O_CLOEXEC;
const unsigned int clinux_rename_noreplace = RENAME_NOREPLACE;
const unsigned int clinux_rename_exchange = RENAME_EXCHANGE;

int clinux_statx(int dirfd, const char *path, int flags, struct clinux_stat *out) {
    struct statx sx;
    if (statx(dirfd, path, flags | AT_STATX_SYNC_AS_STAT, STATX_BASIC_STATS, &sx) != 0) return -1;
    out->mode = sx.stx_mode;
    out->uid = sx.stx_uid;
    out->gid = sx.stx_gid;
    out->nlink = sx.stx_nlink;
    out->ino = sx.stx_ino;
    out->size = sx.stx_size;
    out->blocks = sx.stx_blocks;
    out->dev = makedev(sx.stx_dev_major, sx.stx_dev_minor);
    out->rdev_major = sx.stx_rdev_major;
    out->rdev_minor = sx.stx_rdev_minor;
    out->mtime_sec = sx.stx_mtime.tv_sec;
    out->mtime_nsec = sx.stx_mtime.tv_nsec;
    out->ctime_sec = sx.stx_ctime.tv_sec;
    out->ctime_nsec = sx.stx_ctime.tv_nsec;
    return 0;
}

int64_t clinux_filesystem_type(int fd) {
    struct statfs info;
    if (fstatfs(fd, &info) != 0) return -1;
    return (int64_t)(uint32_t)info.f_type;
}

long clinux_getdents64(int fd, void *buffer, size_t size) { return syscall(SYS_getdents64, fd, buffer, size); }

int clinux_openat2(int dirfd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve) {
    struct open_how how = {.flags = flags, .mode = mode, .resolve = resolve};
    return (int)syscall(SYS_openat2, dirfd, path, &how, sizeof how);
}

int clinux_renameat2(int olddirfd, const char *oldpath, int newdirfd, const char *newpath, unsigned int flags) {
    return (int)syscall(SYS_renameat2, olddirfd, oldpath, newdirfd, newpath, flags);
}

int clinux_pidfd_open(int pid, unsigned int flags) { return (int)syscall(SYS_pidfd_open, pid, flags); }

int clinux_pidfd_send_signal(int pidfd, int signal) {
    return (int)syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0);
}

long clinux_copy_file_range(int in, int out, size_t length) {
    return copy_file_range(in, NULL, out, NULL, length, 0);
}

void clinux_limit_arenas(int count) {
#ifdef M_ARENA_MAX
    mallopt(M_ARENA_MAX, count);
#else
    (void)count;
#endif
}

void clinux_map_allocations_from(int size) {
#ifdef M_MMAP_THRESHOLD
    mallopt(M_MMAP_THRESHOLD, size);
#else
    (void)size;
#endif
}

void clinux_keep_freed(int most, int step) {
#ifdef M_TRIM_THRESHOLD
    mallopt(M_TRIM_THRESHOLD, most);
    mallopt(M_TOP_PAD, step);
#else
    (void)most;
    (void)step;
#endif
}

int clinux_fallocate(int fd, int mode, int64_t offset, int64_t length) { return fallocate(fd, mode, offset, length); }

int clinux_punch_hole(int fd, int64_t offset, int64_t length) {
    return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
}

int clinux_lock_range(int fd, int kind, int64_t start, int64_t length) {
    struct flock lock = {
        .l_type = kind == 0 ? F_RDLCK : kind == 1 ? F_WRLCK : F_UNLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    return fcntl(fd, F_OFD_SETLK, &lock);
}

int clinux_range_is_locked(int fd, int64_t start, int64_t length) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    if (fcntl(fd, F_OFD_GETLK, &lock) != 0) return -1;
    return lock.l_type != F_UNLCK;
}

int clinux_lock_first_byte(int fd) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    return fcntl(fd, F_SETLK, &lock);
}

void clinux_start_writeback(int fd, int64_t offset, int64_t length) {
    sync_file_range(fd, offset, length, SYNC_FILE_RANGE_WRITE);
}

int64_t clinux_pwrite_direct(int fd, const void *bytes, size_t size, int64_t offset) {
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_DIRECT) != 0) return -1;
    const ssize_t count = pwrite(fd, bytes, size, offset);
    const int failure = errno;
    fcntl(fd, F_SETFL, flags);
    errno = failure;
    return count;
}

int clinux_memfd_create(const char *name, unsigned int flags) { return memfd_create(name, flags); }

int clinux_pipe2(int fds[2], int flags) { return pipe2(fds, flags); }

int clinux_close_range(unsigned int first, unsigned int last, unsigned int flags) {
    return (int)syscall(SYS_close_range, first, last, flags);
}

// The xattr calls take no directory descriptor; /proc/self/fd/N/name reaches the entry without walking its path,
// and the l-forms do not follow a symlink in the last component.
static int proc_path(char out[static 320], int dirfd, const char *name) {
    int n = name ? snprintf(out, 320, "/proc/self/fd/%d/%s", dirfd, name) : snprintf(out, 320, "/proc/self/fd/%d", dirfd);
    if (n < 0 || n >= 320) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return 0;
}

long clinux_listxattr(int dirfd, const char *name, char *list, size_t size) {
    char path[320];
    if (proc_path(path, dirfd, name) != 0) return -1;
    return name ? llistxattr(path, list, size) : listxattr(path, list, size);
}

long clinux_getxattr(int dirfd, const char *name, const char *attribute, void *value, size_t size) {
    char path[320];
    if (proc_path(path, dirfd, name) != 0) return -1;
    return name ? lgetxattr(path, attribute, value, size) : getxattr(path, attribute, value, size);
}

int clinux_setxattr(int dirfd, const char *name, const char *attribute, const void *value, size_t size) {
    char path[320];
    if (proc_path(path, dirfd, name) != 0) return -1;
    return name ? lsetxattr(path, attribute, value, size, 0) : setxattr(path, attribute, value, size, 0);
}

uint64_t clinux_makedev(uint32_t major, uint32_t minor) { return makedev(major, minor); }
