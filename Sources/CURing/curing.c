#include "curing.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <unistd.h>

struct curing {
    struct io_uring ring;
    unsigned batch;
    int failed;
};

struct curing *curing_create(unsigned batch) {
    struct curing *ring = calloc(1, sizeof *ring);
    if (!ring) return NULL;
    ring->batch = batch;
    int code = io_uring_queue_init(batch, &ring->ring, 0);
    if (code < 0) {
        free(ring);
        errno = -code;
        return NULL;
    }
    return ring;
}

void curing_destroy(struct curing *ring) {
    io_uring_queue_exit(&ring->ring);
    free(ring);
}

// Submits what was prepared and waits for all of it: nothing is in flight when this returns, whatever went wrong, since
// the kernel writes to the caller's memory until then. An entry that gets no result keeps what `results` had.
static int settle(struct curing *ring, unsigned prepared, int *results) {
    unsigned submitted = 0, seen = 0;
    int failure = 0;
    while (submitted < prepared && !failure) {
        int code = io_uring_submit(&ring->ring);
        if (code > 0)
            submitted += code;
        else if (code != -EINTR && code != -EAGAIN)
            failure = code ? code : -EIO;
    }
    while (seen < submitted) {
        struct io_uring_cqe *entry;
        int code = io_uring_wait_cqe(&ring->ring, &entry);
        if (code == -EINTR || code == -EAGAIN) continue;
        // The queue cannot be read: there is no way to know when the kernel is done with the memory.
        if (code < 0) abort();
        results[entry->user_data] = entry->res;
        io_uring_cqe_seen(&ring->ring, entry);
        seen++;
    }
    if (failure) ring->failed = 1;
    return failure;
}

int curing_read(struct curing *ring, int directory, int flags, const char *const *names, unsigned count, void *base,
                size_t stride, int *fds, int *sizes) {
    if (ring->failed || count > ring->batch) return -EINVAL;
    for (unsigned i = 0; i < count; i++) {
        struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);
        if (!entry) return -EBUSY;
        io_uring_prep_openat(entry, directory, names[i], flags, 0);
        entry->user_data = i;
        fds[i] = sizes[i] = -ECANCELED;
    }
    int failure = settle(ring, count, fds);
    if (failure) return failure;
    unsigned opened = 0;
    for (unsigned i = 0; i < count; i++) {
        if (fds[i] < 0) continue;
        struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);
        if (!entry) break;
        io_uring_prep_read(entry, fds[i], (char *)base + i * stride, (unsigned)stride, 0);
        entry->user_data = i;
        opened++;
    }
    return settle(ring, opened, sizes);
}

void curing_close(struct curing *ring, const int *fds, unsigned count) {
    unsigned prepared = 0;
    int codes[count ? count : 1];
    for (unsigned i = 0; i < count; i++) {
        codes[i] = -ECANCELED;
        struct io_uring_sqe *entry = ring->failed || fds[i] < 0 ? NULL : io_uring_get_sqe(&ring->ring);
        if (!entry) continue;
        io_uring_prep_close(entry, fds[i]);
        entry->user_data = i;
        prepared++;
    }
    if (prepared) settle(ring, prepared, codes);
    // A close that was not done is done here; one that failed did close.
    for (unsigned i = 0; i < count; i++)
        if (fds[i] >= 0 && codes[i] == -ECANCELED) close(fds[i]);
}
