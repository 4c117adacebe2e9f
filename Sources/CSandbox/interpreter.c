// The interpreter of sandbox actions. It runs in the child of clone3: system calls only, no malloc, no libc state.
//
// Targets are resolved beneath the new root (RESOLVE_IN_ROOT) to a descriptor, and mounts are attached to that
// descriptor, so no symlink of a hostile image can make a mount land on the host.
#define _GNU_SOURCE
#include "interpreter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/prctl.h>
#include <linux/stat.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "syscalls.h"

#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#define OPEN_TREE_CLOEXEC O_CLOEXEC
#endif
enum { PATH_LIMIT = 4096, UMOUNT_DETACH = 2, SYSTEM_SLAVE = 1 << 19, SYSTEM_REC = 16384 };

static size_t length_of(const char *s) {
    size_t n = 0;
    while (s[n]) n++;
    return n;
}

static void close_fd(long fd) {
    if (fd >= 0) raw(SYS_close, fd);
}

static long open_in_root(struct interpreter *in, const char *path, uint64_t flags, uint32_t action_flags) {
    if (in->root < 0) return -ENOENT;
    struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    if (action_flags & CSANDBOX_NOFOLLOW) how.resolve |= RESOLVE_NO_SYMLINKS;
    return raw(SYS_openat2, in->root, path, &how, sizeof how);
}

// Opens the directory that holds `path`, symlinks resolved within the root, and points `name` at the last component.
static long open_parent(struct interpreter *in, const char *path, uint32_t flags, const char **name) {
    char parent[PATH_LIMIT];
    size_t end = length_of(path), slash = 0;
    if (end >= PATH_LIMIT) return -ENAMETOOLONG;
    for (size_t i = 0; i < end; i++) {
        parent[i] = path[i];
        if (path[i] == '/') slash = i;
    }
    parent[slash ? slash : 1] = 0;
    if (!slash) parent[0] = '/';
    *name = path + slash + (path[slash] == '/');
    if (!**name) return -EINVAL;
    return open_in_root(in, parent, O_PATH | O_DIRECTORY, flags);
}

static long attach(long mount, long target) {
    return raw(SYS_move_mount, mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

static uint64_t mount_attributes(uint64_t attributes) {
    uint64_t bits = 0;
    if (attributes & CSANDBOX_ATTR_RDONLY) bits |= MOUNT_ATTR_RDONLY;
    if (attributes & CSANDBOX_ATTR_NOSUID) bits |= MOUNT_ATTR_NOSUID;
    if (attributes & CSANDBOX_ATTR_NODEV) bits |= MOUNT_ATTR_NODEV;
    if (attributes & CSANDBOX_ATTR_NOEXEC) bits |= MOUNT_ATTR_NOEXEC;
    return bits;
}

// Attaches `mount` (consumed) at the action's target, or as the new root, which stays open.
static long place(struct interpreter *in, const struct csandbox_action *action, long mount) {
    long result;
    if (action->flags & CSANDBOX_ROOT) {
        result = raw(SYS_move_mount, mount, "", AT_FDCWD, action->target, MOVE_MOUNT_F_EMPTY_PATH);
        if (result == 0) {
            in->root = (int)mount;
            return 0;
        }
    } else {
        long target = open_in_root(in, action->target, O_PATH, action->flags);
        result = target < 0 ? target : attach(mount, target);
        close_fd(target);
    }
    close_fd(mount);
    return result;
}

static long configure(long context, const struct csandbox_action *action) {
    for (const char *const *pair = action->list; pair && pair[0]; pair += 2) {
        int command = pair[1][0] ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG;
        long result = raw(SYS_fsconfig, context, command, pair[0], pair[1][0] ? pair[1] : NULL, 0);
        if (result < 0) return result;
    }
    return raw(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
}

static long make_directories(struct interpreter *in, const struct csandbox_action *action, const char *path);

static long run_mount(struct interpreter *in, const struct csandbox_action *action) {
    if (action->flags & CSANDBOX_CREATE) {
        struct csandbox_action parents = {.a = 0755};
        long made = make_directories(in, &parents, action->target);
        if (made < 0) return made;
    }
    if (action->base) {
        long moved = raw(SYS_chdir, action->base);
        if (moved < 0) return moved;
    }
    long context = raw(SYS_fsopen, action->source, FSOPEN_CLOEXEC);
    if (context < 0) return context;
    long result = configure(context, action);
    if (result == 0) result = raw(SYS_fsmount, context, FSMOUNT_CLOEXEC, mount_attributes(action->a));
    if (result < 0) {
        long count = raw(SYS_read, context, in->message, sizeof in->message - 1);
        in->message[count > 0 ? count : 0] = 0;
    }
    close_fd(context);
    if (action->base) raw(SYS_chdir, "/");
    return result < 0 ? result : place(in, action, result);
}

static long set_attributes(long mount, uint64_t attributes, int recursive) {
    struct mount_attr attr = {.attr_set = mount_attributes(attributes)};
    if (!attr.attr_set) return 0;
    return raw(SYS_mount_setattr, mount, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &attr, sizeof attr);
}

static int is_directory(long fd) {
    struct statx sx;
    long result = raw(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_TYPE, &sx);
    return result == 0 && (sx.stx_mode & 0170000) == 0040000;
}

// Makes what a bind needs as its target: a directory for a directory, an empty file for anything else.
static long make_target(struct interpreter *in, const struct csandbox_action *action, int directory) {
    struct csandbox_action parents = {.a = 0755};
    if (directory) return make_directories(in, &parents, action->target);
    char parent[PATH_LIMIT];
    size_t slash = 0;
    for (size_t i = 0; action->target[i]; i++) {
        if (i + 1 >= PATH_LIMIT) return -ENAMETOOLONG;
        parent[i] = action->target[i];
        if (parent[i] == '/') slash = i;
    }
    parent[slash] = 0;
    long result = slash ? make_directories(in, &parents, parent) : 0;
    if (result < 0) return result;
    const char *name;
    long fd = open_parent(in, action->target, action->flags, &name);
    if (fd < 0) return fd;
    result = raw(SYS_mknodat, fd, name, 0100644, 0);
    close_fd(fd);
    return result == -EEXIST ? 0 : result;
}

static long run_bind(struct interpreter *in, const struct csandbox_action *action) {
    int recursive = (action->flags & CSANDBOX_RECURSIVE) != 0;
    long mount = raw(SYS_open_tree, AT_FDCWD, action->source,
        OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (recursive ? AT_RECURSIVE : 0));
    if (mount < 0) return mount;
    long result = set_attributes(mount, action->a, recursive);
    if (result == 0 && (action->flags & CSANDBOX_CREATE)) {
        long present = open_in_root(in, action->target, O_PATH, action->flags);
        if (present == -ENOENT) result = make_target(in, action, is_directory(mount));
        close_fd(present);
    }
    if (result < 0) {
        close_fd(mount);
        return result;
    }
    return place(in, action, mount);
}

static long write_all(long fd, const char *bytes, uint64_t size) {
    uint64_t written = 0;
    while (written < size) {
        long result = raw(SYS_write, fd, bytes + written, size - written);
        if (result == -EINTR) continue;
        if (result < 0) return result;
        written += (uint64_t)result;
    }
    return 0;
}

// The file with the secret in the fresh filesystem `mount`; its mount of its own, detached.
static long secret_file(struct interpreter *in, const struct csandbox_action *action, long mount) {
    long fd = raw(SYS_openat, mount, "secret", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return fd;
    long result = write_all(fd, action->data, action->size);
    if (result == 0 && (action->b || action->c)) result = raw(SYS_fchown, fd, action->b, action->c);
    if (result == 0) result = raw(SYS_fchmod, fd, action->a);
    close_fd(fd);
    // Part of a mount can be taken only while the mount is attached somewhere: upon the new root, for this moment.
    if (result == 0) result = attach(mount, in->root);
    if (result < 0) return result;
    long file = raw(SYS_open_tree, mount, "secret", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    result = raw(SYS_fchdir, mount);
    if (result == 0) result = raw(SYS_umount2, ".", UMOUNT_DETACH);
    raw(SYS_chdir, "/");
    if (result == 0) return file;
    close_fd(file);
    return result;
}

// ramfs never goes to swap, which tmpfs does.
static long run_secret(struct interpreter *in, const struct csandbox_action *action) {
    if (in->root < 0) return -EINVAL;
    long context = raw(SYS_fsopen, "ramfs", FSOPEN_CLOEXEC);
    if (context < 0) return context;
    long mount = raw(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
    if (mount == 0) mount = raw(SYS_fsmount, context, FSMOUNT_CLOEXEC, 0);
    close_fd(context);
    if (mount < 0) return mount;
    long file = secret_file(in, action, mount);
    close_fd(mount);
    if (file < 0) return file;
    long result = set_attributes(file, CSANDBOX_ATTR_RDONLY | CSANDBOX_ATTR_NOSUID | CSANDBOX_ATTR_NODEV
        | CSANDBOX_ATTR_NOEXEC, 0);
    if (result == 0 && (action->flags & CSANDBOX_CREATE)) {
        long present = open_in_root(in, action->target, O_PATH, action->flags);
        if (present == -ENOENT) result = make_target(in, action, 0);
        close_fd(present);
    }
    if (result == 0) return place(in, action, file);
    close_fd(file);
    return result;
}

static long run_mask(struct interpreter *in, const struct csandbox_action *action) {
    long target = open_in_root(in, action->target, O_PATH, action->flags);
    if (target < 0) return target;
    long mount;
    if (is_directory(target)) {
        long context = raw(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
        mount = context < 0 ? context : raw(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
        if (mount == 0) mount = raw(SYS_fsmount, context, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV);
        close_fd(context);
    } else {
        mount = raw(SYS_open_tree, AT_FDCWD, "/dev/null", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    }
    long result = mount < 0 ? mount : attach(mount, target);
    close_fd(mount);
    close_fd(target);
    return result;
}

static long run_readonly(struct interpreter *in, const struct csandbox_action *action) {
    long target = open_in_root(in, action->target, O_PATH, action->flags);
    if (target < 0) return target;
    int recursive = (action->flags & CSANDBOX_RECURSIVE) != 0;
    long mount = raw(SYS_open_tree, target, "",
        OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0));
    long result = mount < 0 ? mount : set_attributes(mount, CSANDBOX_ATTR_RDONLY, recursive);
    if (result == 0) result = attach(mount, target);
    close_fd(mount);
    close_fd(target);
    return result;
}

static long make_one(struct interpreter *in, const struct csandbox_action *action, const char *path) {
    const char *name;
    long parent = open_parent(in, path, action->flags, &name);
    if (parent < 0) return parent;
    long result = raw(SYS_mkdirat, parent, name, action->a);
    if (result == 0 && (action->b || action->c)) {
        result = raw(SYS_fchownat, parent, name, action->b, action->c, AT_SYMLINK_NOFOLLOW);
    }
    close_fd(parent);
    return result;
}

static long make_directories(struct interpreter *in, const struct csandbox_action *action, const char *path) {
    char prefix[PATH_LIMIT];
    size_t size = length_of(path);
    if (size >= PATH_LIMIT) return -ENAMETOOLONG;
    for (size_t i = 0; i <= size; i++) {
        int boundary = i > 0 && (path[i] == '/' || !path[i]) && path[i - 1] != '/';
        prefix[i] = path[i];
        if (!boundary) continue;
        prefix[i] = 0;
        long present = open_in_root(in, prefix, O_PATH | O_DIRECTORY, action->flags);
        close_fd(present);
        long result = present == -ENOENT ? make_one(in, action, prefix) : present < 0 ? present : 0;
        if (result < 0) return result;
        prefix[i] = path[i];
    }
    return 0;
}

static long run_symlink(struct interpreter *in, const struct csandbox_action *action) {
    const char *name;
    long parent = open_parent(in, action->target, action->flags, &name);
    if (parent < 0) return parent;
    long result = raw(SYS_symlinkat, action->source, parent, name);
    close_fd(parent);
    return result;
}

static long run_device(struct interpreter *in, const struct csandbox_action *action) {
    const char *name;
    long parent = open_parent(in, action->target, action->flags, &name);
    if (parent < 0) return parent;
    // The kernel's form of a number: eight bits of the minor, twelve of the major, the rest of the minor.
    uint64_t number = (action->b & 0xff) | (action->a << 8) | ((action->b & ~0xffull) << 12);
    long result = raw(SYS_mknodat, parent, name, action->c ? 0060666 : 0020666, number);
    if (result == -EPERM) result = raw(SYS_mknodat, parent, name, 0100666, 0);
    else action = NULL;
    close_fd(parent);
    // In a user namespace nodes are refused: an empty file with the host's node over it serves as well.
    return result < 0 || !action ? result : run_bind(in, &(struct csandbox_action){
        .source = action->source, .target = action->target, .flags = action->flags});
}

static long run_write(struct interpreter *in, const struct csandbox_action *action) {
    const char *name;
    long parent = open_parent(in, action->target, action->flags, &name);
    if (parent < 0) return parent;
    long fd = raw(SYS_openat, parent, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, action->a);
    close_fd(parent);
    if (fd < 0) return fd;
    long result = write_all(fd, action->data, action->size);
    close_fd(fd);
    return result;
}

static long run_loopback(void) {
    long fd = raw(SYS_socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return fd;
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    long result = raw(SYS_ioctl, fd, SIOCSIFFLAGS, &request);
    close_fd(fd);
    return result;
}

static long run_terminal(struct interpreter *in, const struct csandbox_action *action) {
    long master = open_in_root(in, "/dev/pts/ptmx", O_RDWR | O_NOCTTY, CSANDBOX_NOFOLLOW);
    if (master < 0) return master;
    int unlocked = 0;
    long result = raw(SYS_ioctl, master, TIOCSPTLCK, &unlocked);
    long peer = result < 0 ? result : raw(SYS_ioctl, master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (peer < 0) {
        close_fd(master);
        return peer;
    }
    struct winsize size = {.ws_row = (unsigned short)action->a, .ws_col = (unsigned short)action->b};
    if (action->a && action->b) raw(SYS_ioctl, master, TIOCSWINSZ, &size);
    send_report(CSANDBOX_TERMINAL_MASTER, 0, 0, 0, NULL, (int)master);
    for (int fd = 0; fd < 3; fd++) raw(SYS_dup3, peer, fd, 0);
    close_fd(master);
    close_fd(peer);
    in->terminal = 1;
    return 0;
}

static long run_pivot(struct interpreter *in) {
    if (in->root < 0) return -EINVAL;
    long result = raw(SYS_fchdir, in->root);
    // The old root is stacked upon the new one and taken off from there: no directory to hold it is needed.
    if (result == 0) result = raw(SYS_pivot_root, ".", ".");
    if (result == 0) result = raw(SYS_umount2, ".", UMOUNT_DETACH);
    return result < 0 ? result : raw(SYS_chdir, "/");
}

static long run_ids(const struct csandbox_action *action) {
    if (!(action->flags & CSANDBOX_NO_GROUPS)) {
        long result = raw(SYS_setgroups, action->size, action->data);
        if (result < 0) return result;
    }
    long result = raw(SYS_setresgid, action->b, action->b, action->b);
    return result < 0 ? result : raw(SYS_setresuid, action->a, action->a, action->a);
}

// The bounding set must shrink while CAP_SETPCAP is there, and both before the user changes.
static long run_capabilities(const struct csandbox_action *action) {
    for (unsigned capability = 0; capability < 64; capability++) {
        if (action->a >> capability & 1) continue;
        long result = raw(SYS_prctl, PR_CAPBSET_DROP, capability, 0, 0, 0);
        if (result == -EINVAL) break; // beyond the last that this kernel knows
        if (result < 0) return result;
    }
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct held[2], wanted[2];
    long result = raw(SYS_capget, &header, held);
    if (result < 0) return result;
    for (int i = 0; i < 2; i++) {
        // What the parent itself lacks cannot be given.
        uint32_t mask = (uint32_t)(action->a >> (32 * i)) & held[i].permitted;
        wanted[i] = (struct __user_cap_data_struct){.effective = mask, .permitted = mask};
    }
    result = raw(SYS_capset, &header, wanted);
    return result < 0 ? result : raw(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}

static long run_limit(const struct csandbox_action *action) {
    uint64_t limit[2] = {action->b, action->c};
    return raw(SYS_prlimit64, 0, action->a, limit, NULL);
}

static const char *search_path(const char *const *environment) {
    for (; environment && *environment; environment++) {
        const char *e = *environment;
        if (e[0] == 'P' && e[1] == 'A' && e[2] == 'T' && e[3] == 'H' && e[4] == '=') return e + 5;
    }
    return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

static void note(struct interpreter *in, const char *text) {
    size_t n = 0;
    for (; text[n] && n + 1 < sizeof in->message; n++) in->message[n] = text[n];
    in->message[n] = 0;
}

static long execute(struct interpreter *in, const char *path, const struct csandbox_action *action) {
    long result = raw(SYS_execve, path, action->list, action->data);
    // A file that is there and yet "not found" names an interpreter or a loader that is not.
    if (result == -ENOENT && raw(SYS_faccessat, AT_FDCWD, path, 0) == 0) {
        note(in, "its interpreter or dynamic loader is missing");
        return -ENOEXEC;
    }
    return result;
}

static long run_exec(struct interpreter *in, const struct csandbox_action *action) {
    const char *name = action->list[0];
    if (!name || !*name) return -ENOENT;
    for (const char *c = name; *c; c++) {
        if (*c == '/') return execute(in, name, action);
    }
    long best = -ENOENT;
    char path[PATH_LIMIT];
    size_t name_length = length_of(name);
    for (const char *p = search_path(action->data);; p++) {
        size_t n = 0;
        for (; *p && *p != ':'; p++) {
            if (n < PATH_LIMIT - 2) path[n++] = *p;
        }
        if (n && n + name_length + 2 < PATH_LIMIT) {
            path[n++] = '/';
            for (size_t i = 0; i <= name_length; i++) path[n + i] = name[i];
            long result = execute(in, path, action);
            if (result != -ENOENT && result != -ENOTDIR) best = result;
            if (best != -ENOENT && best != -EACCES) return best;
        }
        if (!*p) return best;
    }
}

static long dispatch(struct interpreter *in, const struct csandbox_action *action) {
    switch (action->op) {
    case CSANDBOX_PROPAGATION: return raw(SYS_mount, NULL, "/", NULL, SYSTEM_SLAVE | SYSTEM_REC, NULL);
    case CSANDBOX_MOUNT: return run_mount(in, action);
    case CSANDBOX_BIND: return run_bind(in, action);
    case CSANDBOX_MASK: return run_mask(in, action);
    case CSANDBOX_READONLY: return run_readonly(in, action);
    case CSANDBOX_MKDIR: return make_directories(in, action, action->target);
    case CSANDBOX_SYMLINK: return run_symlink(in, action);
    case CSANDBOX_DEVICE: return run_device(in, action);
    case CSANDBOX_WRITE: return run_write(in, action);
    case CSANDBOX_HOSTNAME: return raw(SYS_sethostname, action->source, length_of(action->source));
    case CSANDBOX_LOOPBACK: return run_loopback();
    case CSANDBOX_TERMINAL: return run_terminal(in, action);
    case CSANDBOX_PIVOT: return run_pivot(in);
    case CSANDBOX_IDS: return run_ids(action);
    case CSANDBOX_CAPABILITIES: return run_capabilities(action);
    case CSANDBOX_UMASK: raw(SYS_umask, action->a); return 0;
    case CSANDBOX_CHDIR: return raw(SYS_chdir, action->target);
    case CSANDBOX_SECRET: return run_secret(in, action);
    case CSANDBOX_LIMIT: return run_limit(action);
    case CSANDBOX_EXEC: return run_exec(in, action);
    default: return -ENOSYS;
    }
}

long interpret(struct interpreter *in, const struct csandbox_action *action) {
    in->message[0] = 0;
    long result = dispatch(in, action);
    if ((action->flags & CSANDBOX_OPTIONAL) && (result == -ENOENT || result == -ENOTDIR)) return 0;
    return result;
}
