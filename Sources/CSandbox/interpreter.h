// Between the parent's side (csandbox.c), the interpreter of actions (interpreter.c) and the sandbox's pid 1 (init.c).
#pragma once
#include "csandbox.h"

// The child's descriptors, from its first moments on: stdio at 0, 1, 2, then these.
enum { CONTROL = 3, LIFELINE = 4, FIRST_FREE = 5 };

struct interpreter {
    const struct csandbox_request *request;
    int root;          // the new root; -1 until there is one
    int terminal;      // stdio is a pty of the sandbox's own
    char message[240]; // the kernel's words about the last failure
};

// Runs one action; 0 or -errno.
long interpret(struct interpreter *in, const struct csandbox_action *action);

// Becomes pid 1: runs the actions from `first` on in a child, waits, reports, exits.
__attribute__((noreturn)) void become_init(struct interpreter *in, uint32_t first);

void send_report(int kind, int index, int error, int status, const char *message, int fd);
