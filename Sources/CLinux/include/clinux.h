// Linux system calls and constants that the Glibc module hides from Swift.
#pragma once
#include <stddef.h>
#include <stdint.h>

// What statx reports, in the fields that this project uses.
struct clinux_stat {
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    uint32_t nlink;
    uint64_t ino;
    uint64_t size;
    uint64_t blocks;
    uint64_t dev;
    uint32_t rdev_major;
    uint32_t rdev_minor;
    int64_t mtime_sec;
    int64_t ctime_sec;
    uint32_t mtime_nsec;
    uint32_t ctime_nsec;
};

enum {
    CLINUX_RESOLVE_NO_SYMLINKS = 0x04,
    CLINUX_RESOLVE_BENEATH = 0x08,
    CLINUX_RESOLVE_IN_ROOT = 0x10,
    CLINUX_RESOLVE_NO_MAGICLINKS = 0x02,
};

// Constants that are macros of complex expressions, or hidden behind _GNU_SOURCE.
extern const int clinux_o_path;
extern const int clinux_o_tmpfile;
extern const int clinux_o_noatime;
extern const int clinux_o_directory;
extern const int clinux_o_nofollow;
extern const int clinux_o_cloexec;
extern const unsigned int clinux_rename_noreplace;
extern const unsigned int clinux_rename_exchange;

// Each returns -1 and sets errno on failure, as the system call does.
int clinux_statx(int dirfd, const char *path, int flags, struct clinux_stat *out);
// The magic number of the filesystem of `fd` (EXT4_SUPER_MAGIC, ...).
int64_t clinux_filesystem_type(int fd);
long clinux_getdents64(int fd, void *buffer, size_t size);
int clinux_openat2(int dirfd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);
int clinux_renameat2(int olddirfd, const char *oldpath, int newdirfd, const char *newpath, unsigned int flags);
int clinux_pidfd_open(int pid, unsigned int flags);
int clinux_pidfd_send_signal(int pidfd, int signal);
long clinux_copy_file_range(int in, int out, size_t length);
int clinux_fallocate(int fd, int mode, int64_t offset, int64_t length);
// Gives the blocks below a part of the file back: it reads as zeros from then on.
int clinux_punch_hole(int fd, int64_t offset, int64_t length);
// Lets the kernel begin to write a part of the file to its disk. No promise: only a sync makes it durable.
void clinux_start_writeback(int fd, int64_t offset, int64_t length);
// One write past the page cache: address, size and offset in whole pages. EINVAL where the filesystem cannot. Nobody else may use
// the open file meanwhile.
int64_t clinux_pwrite_direct(int fd, const void *bytes, size_t size, int64_t offset);
int clinux_memfd_create(const char *name, unsigned int flags);
int clinux_pipe2(int fds[2], int flags);
// A lock of the open file on `length` bytes from `start`: 0 shared, 1 exclusive, 2 none. Never waits; goes with the descriptor.
int clinux_lock_range(int fd, int kind, int64_t start, int64_t length);
// 1 when another open file holds a lock there, 0 when none does.
int clinux_range_is_locked(int fd, int64_t start, int64_t length);
// A lock of this process, as LMDB takes them, on the first byte. Never waits; goes when any descriptor of the file is closed.
int clinux_lock_first_byte(int fd);
// At most so many arenas of the allocator; where it has none, nothing changes.
void clinux_limit_arenas(int count);

// Allocations of this many bytes and more get pages of their own, which go back to the system when they are freed.
void clinux_map_allocations_from(int size);

// So many freed bytes at most stay with the process at the end of its heap, which grows by `step` bytes at least.
void clinux_keep_freed(int most, int step);
int clinux_close_range(unsigned int first, unsigned int last, unsigned int flags);

// Extended attributes of the entry `name` in `dirfd`, never following a symlink, by way of /proc/self/fd.
// `name` may be NULL for the descriptor itself (which may be O_PATH).
long clinux_listxattr(int dirfd, const char *name, char *list, size_t size);
long clinux_getxattr(int dirfd, const char *name, const char *attribute, void *value, size_t size);
int clinux_setxattr(int dirfd, const char *name, const char *attribute, const void *value, size_t size);

// makedev, major and minor as the kernel's 64-bit forms.
uint64_t clinux_makedev(uint32_t major, uint32_t minor);
