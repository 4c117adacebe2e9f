// The floors of a context scan: the same system calls and hashes in C, on as many threads as there are cores.
//
//   scan-floor walk PATH     getdents64 and statx of every entry
//   scan-floor hash PATH     open, fstat, read, SHA-256 (OpenSSL's) and close of every file
//   scan-floor touch PATH    open, read, XXH3-128 and close of every file
//   scan-floor quiet PATH    the same by O_NOATIME, which leaves the inodes alone
//   scan-floor keys          SHA-256 of 300 bytes, 100,000 times
//   scan-floor xxh3          XXH3-128 of 128 KiB blocks in memory, by libxxhash's dispatch
//
// Prints the milliseconds that the work took, without the process's start.
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>
#if defined(__x86_64__)
#include <xxh_x86dispatch.h>
#define XXH3_128(data, size) XXH3_128bits_dispatch(data, size)
#else
#define XXH3_128(data, size) XXH3_128bits(data, size)
#endif

enum mode { WALK, HASH, TOUCH, QUIET };

enum { LISTING = 128 * 1024, PIECE = 256 * 1024 };

static enum mode mode;
// Directories that wait for a thread, as open descriptors: the trees here are wide, not deep.
static int *queue;
static long queued, taken, busy;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t more = PTHREAD_COND_INITIALIZER;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void enqueue(int fd) {
    pthread_mutex_lock(&lock);
    if ((queued & (queued - 1)) == 0) {
        queue = realloc(queue, (queued ? 2 * queued : 1) * sizeof *queue);
        if (!queue) fail("realloc");
    }
    queue[queued++] = fd;
    pthread_cond_signal(&more);
    pthread_mutex_unlock(&lock);
}

// The next directory; -1 when there is none and nobody works who could find one.
static int dequeue(int was_busy) {
    pthread_mutex_lock(&lock);
    busy -= was_busy;
    while (taken == queued && busy > 0) pthread_cond_wait(&more, &lock);
    int fd = taken < queued ? queue[taken++] : -1;
    if (fd >= 0)
        busy++;
    else
        pthread_cond_broadcast(&more);
    pthread_mutex_unlock(&lock);
    return fd;
}

static const EVP_MD *sha256;
// What keeps the digests from being worked out for nobody.
static _Thread_local unsigned char sum;

static void hash_file(int directory, const char *name, char *data, EVP_MD_CTX *context) {
    int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | (mode == QUIET ? O_NOATIME : 0));
    if (fd < 0) fail(name);
    struct stat info;
    unsigned char digest[EVP_MAX_MD_SIZE];
    if (mode == HASH) {
        if (fstat(fd, &info)) fail(name);
        EVP_DigestInit_ex(context, sha256, NULL);
        for (off_t done = 0; done < info.st_size;) {
            ssize_t count = read(fd, data, PIECE);
            if (count <= 0) fail(name);
            EVP_DigestUpdate(context, data, count);
            done += count;
        }
        EVP_DigestFinal_ex(context, digest, NULL);
        sum ^= digest[0];
    } else {
        ssize_t count = read(fd, data, PIECE);
        if (count < 0) fail(name);
        sum ^= (unsigned char)XXH3_128(data, count).low64;
    }
    close(fd);
}

static void visit(int directory, char *listing, char *data, EVP_MD_CTX *context) {
    for (;;) {
        long count = syscall(SYS_getdents64, directory, listing, LISTING);
        if (count < 0) fail("getdents64");
        if (count == 0) break;
        for (long offset = 0; offset < count;) {
            struct dirent64 *entry = (void *)(listing + offset);
            offset += entry->d_reclen;
            if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
            struct statx info;
            if (mode == WALK && statx(directory, entry->d_name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &info))
                fail(entry->d_name);
            if (entry->d_type == DT_DIR) {
                int fd = openat(directory, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (fd < 0) fail(entry->d_name);
                enqueue(fd);
            } else if (mode != WALK && entry->d_type == DT_REG) {
                hash_file(directory, entry->d_name, data, context);
            }
        }
    }
    close(directory);
}

static void *work(void *unused) {
    (void)unused;
    char *listing = malloc(LISTING), *data = malloc(PIECE);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (!listing || !data || !context) fail("malloc");
    for (int fd = dequeue(0); fd >= 0; fd = dequeue(1)) visit(fd, listing, data, context);
    EVP_MD_CTX_free(context);
    free(listing);
    free(data);
    return sum == 0 ? NULL : &mode;
}

static void blocks(void) {
    enum { SIZE = 128 * 1024, ROUNDS = 40000 };
    char *data = aligned_alloc(64, SIZE);
    if (!data) fail("aligned_alloc");
    memset(data, 7, SIZE);
    double start = now();
    XXH64_hash_t sum = 0;
    for (int round = 0; round < ROUNDS; round++) {
        data[round & (SIZE - 1)] ^= 1;
        sum ^= XXH3_128(data, SIZE).low64;
    }
    printf("%.3f\n", now() - start);
    if (sum == 1) puts("");
    free(data);
}

int main(int count, char **arguments) {
    if (count == 2 && !strcmp(arguments[1], "keys")) {
        unsigned char key[300] = {0}, name[32];
        double start = now();
        for (int i = 0; i < 100000; i++) {
            memcpy(key, &i, sizeof i);
            if (!EVP_Digest(key, sizeof key, name, NULL, EVP_sha256(), NULL)) return 1;
            key[sizeof key - 1] ^= name[0];
        }
        printf("%.3f\n", now() - start);
        return 0;
    }
    if (count == 2 && !strcmp(arguments[1], "xxh3")) {
        blocks();
        return 0;
    }
    const char *names[] = {"walk", "hash", "touch", "quiet"};
    int chosen = -1;
    for (int i = 0; count == 3 && i < 4; i++)
        if (!strcmp(arguments[1], names[i])) chosen = i;
    if (chosen < 0) {
        fputs("usage: scan-floor walk|hash|touch|quiet PATH, or scan-floor xxh3\n", stderr);
        return 2;
    }
    mode = (enum mode)chosen;
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (!sha256) fail("EVP_MD_fetch");
    double start = now();
    int root = open(arguments[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0) fail(arguments[2]);
    enqueue(root);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    pthread_t threads[64];
    if (cores > 64) cores = 64;
    for (long i = 0; i < cores; i++)
        if (pthread_create(&threads[i], NULL, work, NULL)) fail("pthread_create");
    for (long i = 0; i < cores; i++) pthread_join(threads[i], NULL);
    printf("%.3f\n", now() - start);
    return 0;
}
