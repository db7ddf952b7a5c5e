/* A disk that fails, for tests: preloaded into a process, it lets calls on files under one folder fail.
 *
 * FAULT_DISK_UNDER is the folder; FAULT_DISK_PLAN a file of one line, read at every call:
 *     <call> <errno> <when> <one in>
 * call: "sync" (fsync, fdatasync), "write" (write, pwrite, ftruncate), "open" (for writing), "any" or "none";
 * when: "before" fails without doing it, "after" does it and then fails; one in N calls fails.
 * It stands between libc and SQLite, so what is tested is the real store.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum { NOT = 0, BEFORE = 1, AFTER = 2 };

static int under(const char *path) {
    const char *folder = getenv("FAULT_DISK_UNDER");
    return folder && path && strncmp(path, folder, strlen(folder)) == 0;
}

static int fd_under(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return under(path);
}

/* Decide about one call by the plan; sets errno where it is to fail. */
static int decide(const char *call) {
    const char *plan = getenv("FAULT_DISK_PLAN");
    if (!plan) return NOT;
    int fd = syscall(SYS_openat, AT_FDCWD, plan, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return NOT;
    char text[128], what[16] = "none", when[16] = "before";
    int number = EIO;
    unsigned one_in = 1;
    ssize_t length = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    if (length <= 0) return NOT;
    text[length] = 0;
    sscanf(text, "%15s %d %15s %u", what, &number, when, &one_in);
    if (strcmp(what, "any") != 0 && strcmp(what, call) != 0) return NOT;
    if (one_in > 1 && rand() % one_in) return NOT;
    errno = number;
    return strcmp(when, "after") == 0 ? AFTER : BEFORE;
}

__attribute__((constructor)) static void seed(void) {
    const char *seed = getenv("FAULT_DISK_SEED");
    srand(seed ? (unsigned)atoi(seed) : 1u);
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define GUARD(call, fd, doing)                         \
    do {                                               \
        int fate = fd_under(fd) ? decide(call) : NOT;  \
        int number = errno;                            \
        if (fate == BEFORE) return -1;                 \
        if (fate == AFTER) { (void)!(doing); errno = number; return -1; } \
        return doing;                                  \
    } while (0)

int fsync(int fd) { REAL(fsync); GUARD("sync", fd, real(fd)); }
int fdatasync(int fd) { REAL(fdatasync); GUARD("sync", fd, real(fd)); }
ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    GUARD("write", fd, real(fd, data, size));
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    REAL(pwrite);
    GUARD("write", fd, real(fd, data, size, at));
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    REAL(pwrite64);
    GUARD("write", fd, real(fd, data, size, at));
}
int ftruncate(int fd, off_t size) { REAL(ftruncate); GUARD("write", fd, real(fd, size)); }
int ftruncate64(int fd, off64_t size) {
    REAL(ftruncate64);
    GUARD("write", fd, real(fd, size));
}

#define OPENING(name)                                                        \
    int name(const char *path, int flags, ...) {                             \
        REAL(name);                                                          \
        va_list more;                                                        \
        va_start(more, flags);                                               \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more);                                                        \
        if ((flags & O_ACCMODE) != O_RDONLY && under(path) && decide("open") != NOT) return -1; \
        return real(path, flags, mode);                                      \
    }
OPENING(open)
OPENING(open64)
