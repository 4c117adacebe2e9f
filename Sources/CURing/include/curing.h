// Opening, reading and closing small files in batches by io_uring (liburing): three system calls a batch, not three a file.
#pragma once
#include <stddef.h>

struct curing;

// A ring for batches of at most `batch` files; NULL with errno set where the kernel has none for us. One thread at a time.
struct curing *curing_create(unsigned batch);
void curing_destroy(struct curing *ring);

// Opens `count` files beneath `directory` and reads up to `stride` bytes of the n-th to `base + n * stride`.
// Gives a descriptor, or the negated errno, a file in `fds`, and the bytes read, or the negated errno, in `sizes`.
// Returns 0, or the negated errno when the ring itself failed: then it must not be used again, and `fds` has what is open.
int curing_read(struct curing *ring, int directory, int flags, const char *const *names, unsigned count, void *base,
                size_t stride, int *fds, int *sizes);

// Closes those of `fds` that are open. The ring may have failed.
void curing_close(struct curing *ring, const int *fds, unsigned count);
