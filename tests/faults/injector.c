/* Counts the file calls of a process under given paths, and lets the N-th of them go wrong.
 *
 * Preloaded (LD_PRELOAD). What goes wrong is told by lines `name=value`, in the environment
 * (SECTOOL_FAULT, so that worker processes that are started have it as well) or by `fault_arm`:
 *
 *   under   paths, separated by colons: they, and what lies below, count
 *   at      one path that alone counts
 *   calls   kinds of calls that count, separated by commas; without it all of them
 *   act     kill, fail, tear (half of a write is done, then kill), short (half of a write is
 *           done, as a system may), delay, cut (a power cut of `disk`, then kill: what was not
 *           synced is gone), cut-logged (the same, but the journal of the file system is written
 *           out); without it nothing goes wrong
 *   first, last   numbers of the calls that go wrong, from 1; each process counts for itself
 *   disk    mount point whose power is cut
 *   error   number of the error that `fail` answers with
 *   trace   file that gets a line for each call that went wrong, or for every one without `act`
 *
 * Descriptors, and paths relative to one, are resolved by /proc/self/fd.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define ROOM 4096
#define PATH_ROOM (2 * PATH_MAX + 2)
#define STREAMS 64
#define DELAY_NS 30000000L

/* Of FS_IOC_SHUTDOWN, which ext4 and XFS know. */
#define SHUTDOWN 0x8004587dUL
#define LOG_WRITTEN 1u
#define LOG_LOST 2u

enum act { NOTHING, KILL, FAIL, TEAR, SHORT, DELAY, CUT, CUT_LOGGED };

static char under[ROOM], at[PATH_MAX], calls[ROOM], trace[PATH_MAX], disk[PATH_MAX];
static enum act wanted;
static long first, last;
static int error_wanted;
static int armed;
static atomic_long counted;
static __thread int inside;

static void take(const char *name, size_t length, const char *value)
{
#define IS(word) (length == strlen(word) && !memcmp(name, word, length))
    if (IS("under")) snprintf(under, sizeof under, "%s", value);
    else if (IS("at")) snprintf(at, sizeof at, "%s", value);
    else if (IS("calls")) snprintf(calls, sizeof calls, "%s", value);
    else if (IS("disk")) snprintf(disk, sizeof disk, "%s", value);
    else if (IS("trace")) snprintf(trace, sizeof trace, "%s", value);
    else if (IS("first")) first = atol(value);
    else if (IS("last")) last = atol(value);
    else if (IS("error")) error_wanted = atoi(value);
    else if (IS("act"))
        wanted = !strcmp(value, "kill") ? KILL : !strcmp(value, "fail") ? FAIL
               : !strcmp(value, "tear") ? TEAR : !strcmp(value, "short") ? SHORT
               : !strcmp(value, "delay") ? DELAY : !strcmp(value, "cut") ? CUT
               : !strcmp(value, "cut-logged") ? CUT_LOGGED : NOTHING;
#undef IS
}

__attribute__((visibility("default"))) void fault_arm(const char *lines)
{
    char copy[4 * ROOM], *rest = copy, *line;
    snprintf(copy, sizeof copy, "%s", lines);
    armed = 0;
    wanted = NOTHING;
    under[0] = at[0] = calls[0] = trace[0] = 0;
    first = last = 0;
    while ((line = strsep(&rest, "\n"))) {
        char *value = strchr(line, '=');
        if (value) take(line, (size_t)(value - line), value + 1);
    }
    atomic_store(&counted, 0);
    armed = 1;
}

__attribute__((constructor)) static void begin(void)
{
    const char *lines = getenv("SECTOOL_FAULT");
    if (lines && *lines) fault_arm(lines);
}

static void *next(void **kept, const char *name)
{
    if (!*kept) *kept = dlsym(RTLD_NEXT, name);
    return *kept;
}

static int listed(const char *list, const char *word, char separator)
{
    size_t length = strlen(word);
    for (const char *found = list; (found = strstr(found, word)); found += length)
        if ((found == list || found[-1] == separator)
            && (!found[length] || found[length] == separator)) return 1;
    return 0;
}

static int lies_under(const char *path)
{
    if (at[0]) return !strcmp(path, at);
    for (const char *one = under; *one;) {
        size_t length = strcspn(one, ":");
        if (length && !strncmp(path, one, length) && (!path[length] || path[length] == '/'))
            return 1;
        one += length + (one[length] == ':');
    }
    return 0;
}

static void of_descriptor(int descriptor, char *path)
{
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = 0;
}

static void resolve(int directory, const char *name, char *path)
{
    char from[PATH_MAX];
    if (!name || !*name) {
        of_descriptor(directory, path);
        return;
    }
    if (!strncmp(name, "/proc/self/fd/", 14)) {  /* how an open file is given a name */
        of_descriptor(atoi(name + 14), path);
        return;
    }
    if (*name == '/') {
        snprintf(path, PATH_ROOM, "%s", name);
        return;
    }
    if (directory == AT_FDCWD) {
        if (syscall(SYS_getcwd, from, sizeof from) < 0) from[0] = 0;
    } else of_descriptor(directory, from);
    snprintf(path, PATH_ROOM, "%s/%s", from, name);
}

static void note(const char *kind, const char *call, int changes, long number, const char *path)
{
    char line[PATH_ROOM + 100];
    int length = snprintf(line, sizeof line, "%ld %s %s %d %d %s\n", number, kind, call, changes,
                          (int)syscall(SYS_getpid), path);
    int log = (int)syscall(SYS_openat, AT_FDCWD, trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
                           0600);
    if (log < 0) return;
    syscall(SYS_write, log, line, (size_t)length);
    syscall(SYS_close, log);
}

static void die(void)
{
    syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
    for (;;) pause();
}

static void cut(unsigned flag)
{
    int root = (int)syscall(SYS_openat, AT_FDCWD, disk, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (root < 0 || syscall(SYS_ioctl, root, SHUTDOWN, &flag) < 0) _exit(98);
    die();
}

/* What is to become of a call; `changes`: whether it may change a disk. */
static enum act meet(const char *kind, const char *call, int changes, int one, const char *name,
                     int two, const char *other)
{
    char path[PATH_ROOM];
    int before = errno;
    enum act act = NOTHING;
    if (!armed || inside || (calls[0] && !listed(calls, kind, ','))) return NOTHING;
    inside = 1;
    resolve(one, name, path);
    int counts = lies_under(path);
    if (!counts && other) {
        resolve(two, other, path);
        counts = lies_under(path);
    }
    if (counts) {
        long number = atomic_fetch_add(&counted, 1) + 1;
        int now = wanted && number >= first && number <= last;
        if (trace[0] && (now || !wanted)) note(kind, call, changes, number, path);
        if (now) act = wanted;
    }
    inside = 0;
    if (act == KILL) die();
    if (act == CUT) cut(LOG_LOST);
    if (act == CUT_LOGGED) cut(LOG_WRITTEN);
    if (act == DELAY) {
        struct timespec while_ = {0, DELAY_NS};
        nanosleep(&while_, NULL);
        act = NOTHING;
    }
    errno = act == FAIL ? error_wanted : before;
    return act;
}

#define PUBLIC __attribute__((visibility("default")))
#define ABSENT (-2)

/* Calls of which the N-th fails before it is begun. */
#define CALL(result, name, parameters, arguments, kind, changes, one, path, two, other)           \
    PUBLIC result name parameters                                                                 \
    {                                                                                             \
        static void *kept;                                                                        \
        result(*real) parameters = (result(*) parameters)next(&kept, #name);                      \
        if (meet(kind, #name, changes, one, path, two, other) == FAIL) return (result)-1;         \
        return real arguments;                                                                    \
    }
#define ON_PATH(name, parameters, arguments, kind, changes)                                       \
    CALL(int, name, parameters, arguments, kind, changes, AT_FDCWD, path, ABSENT, NULL)
#define ON_FILE(result, name, parameters, arguments, kind, changes)                               \
    CALL(result, name, parameters, arguments, kind, changes, fd, NULL, ABSENT, NULL)
#define IN_DIRECTORY(name, parameters, arguments, kind, changes)                                  \
    CALL(int, name, parameters, arguments, kind, changes, fd, path, ABSENT, NULL)

#define OPEN(name)                                                                                \
    PUBLIC int name(const char *path, int flags, ...)                                             \
    {                                                                                             \
        static void *kept;                                                                        \
        int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))next(&kept, #name);\
        va_list more;                                                                             \
        va_start(more, flags);                                                                    \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;                   \
        va_end(more);                                                                             \
        int changes = !!(flags & (O_CREAT | O_TRUNC));                                            \
        if (meet(changes ? "create" : "open", #name, changes, AT_FDCWD, path, ABSENT, NULL)       \
            == FAIL) return -1;                                                                   \
        return real(path, flags, mode);                                                           \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                              \
    PUBLIC int name(int fd, const char *path, int flags, ...)                                     \
    {                                                                                             \
        static void *kept;                                                                        \
        int (*real)(int, const char *, int, ...) =                                                \
            (int (*)(int, const char *, int, ...))next(&kept, #name);                             \
        va_list more;                                                                             \
        va_start(more, flags);                                                                    \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;                   \
        va_end(more);                                                                             \
        int changes = !!(flags & (O_CREAT | O_TRUNC));                                            \
        if (meet(changes ? "create" : "open", #name, changes, fd, path, ABSENT, NULL) == FAIL)    \
            return -1;                                                                            \
        return real(fd, path, flags, mode);                                                       \
    }
OPENAT(openat)
OPENAT(openat64)

/* Writes, of which a half may be done. */
#define WRITE(name, parameters, whole, half)                                                      \
    PUBLIC ssize_t name parameters                                                                \
    {                                                                                             \
        static void *kept;                                                                        \
        ssize_t(*real) parameters = (ssize_t(*) parameters)next(&kept, #name);                    \
        enum act act = meet("write", #name, 1, fd, NULL, ABSENT, NULL);                           \
        if (act == FAIL) return -1;                                                               \
        if (act != TEAR && act != SHORT) return real whole;                                       \
        ssize_t done = real half;                                                                 \
        if (act == TEAR) die();                                                                   \
        return done;                                                                              \
    }
#define HALF(size) ((size) / 2 + (size) % 2)
WRITE(write, (int fd, const void *data, size_t size), (fd, data, size), (fd, data, HALF(size)))
WRITE(pwrite, (int fd, const void *data, size_t size, off_t place), (fd, data, size, place),
      (fd, data, HALF(size), place))
WRITE(pwrite64, (int fd, const void *data, size_t size, off64_t place), (fd, data, size, place),
      (fd, data, HALF(size), place))
WRITE(writev, (int fd, const struct iovec *parts, int count), (fd, parts, count),
      (fd, parts, HALF(count)))

ON_FILE(ssize_t, read, (int fd, void *data, size_t size), (fd, data, size), "read", 0)
ON_FILE(ssize_t, readv, (int fd, const struct iovec *parts, int count), (fd, parts, count),
        "read", 0)
ON_FILE(ssize_t, pread, (int fd, void *data, size_t size, off_t place), (fd, data, size, place),
        "read", 0)
ON_FILE(ssize_t, pread64, (int fd, void *data, size_t size, off64_t place),
        (fd, data, size, place), "read", 0)
CALL(ssize_t, sendfile, (int fd, int from, off_t *place, size_t size), (fd, from, place, size),
     "copy", 1, fd, NULL, from, "")
CALL(ssize_t, sendfile64, (int fd, int from, off64_t *place, size_t size),
     (fd, from, place, size), "copy", 1, fd, NULL, from, "")
CALL(ssize_t, copy_file_range,
     (int from, off64_t *start, int fd, off64_t *place, size_t size, unsigned flags),
     (from, start, fd, place, size, flags), "copy", 1, fd, NULL, from, "")

ON_FILE(int, fsync, (int fd), (fd), "sync", 1)
ON_FILE(int, fdatasync, (int fd), (fd), "sync", 1)
ON_FILE(int, sync_file_range, (int fd, off64_t place, off64_t size, unsigned flags),
        (fd, place, size, flags), "sync", 1)
ON_FILE(int, ftruncate, (int fd, off_t size), (fd, size), "truncate", 1)
ON_FILE(int, ftruncate64, (int fd, off64_t size), (fd, size), "truncate", 1)
ON_PATH(truncate, (const char *path, off_t size), (path, size), "truncate", 1)
ON_PATH(truncate64, (const char *path, off64_t size), (path, size), "truncate", 1)

CALL(int, rename, (const char *path, const char *to), (path, to), "rename", 1, AT_FDCWD, path,
     AT_FDCWD, to)
CALL(int, renameat, (int fd, const char *path, int into, const char *to), (fd, path, into, to),
     "rename", 1, fd, path, into, to)
CALL(int, renameat2, (int fd, const char *path, int into, const char *to, unsigned flags),
     (fd, path, into, to, flags), "rename", 1, fd, path, into, to)
CALL(int, link, (const char *path, const char *to), (path, to), "link", 1, AT_FDCWD, path,
     AT_FDCWD, to)
CALL(int, linkat, (int fd, const char *path, int into, const char *to, int flags),
     (fd, path, into, to, flags), "link", 1, fd, path, into, to)
ON_PATH(unlink, (const char *path), (path), "unlink", 1)
IN_DIRECTORY(unlinkat, (int fd, const char *path, int flags), (fd, path, flags), "unlink", 1)
ON_PATH(rmdir, (const char *path), (path), "unlink", 1)
ON_PATH(mkdir, (const char *path, mode_t mode), (path, mode), "mkdir", 1)
IN_DIRECTORY(mkdirat, (int fd, const char *path, mode_t mode), (fd, path, mode), "mkdir", 1)

ON_PATH(chmod, (const char *path, mode_t mode), (path, mode), "rights", 1)
ON_FILE(int, fchmod, (int fd, mode_t mode), (fd, mode), "rights", 1)
IN_DIRECTORY(fchmodat, (int fd, const char *path, mode_t mode, int flags),
             (fd, path, mode, flags), "rights", 1)
ON_PATH(chown, (const char *path, uid_t user, gid_t group), (path, user, group), "rights", 1)
ON_PATH(lchown, (const char *path, uid_t user, gid_t group), (path, user, group), "rights", 1)
ON_FILE(int, fchown, (int fd, uid_t user, gid_t group), (fd, user, group), "rights", 1)
IN_DIRECTORY(fchownat, (int fd, const char *path, uid_t user, gid_t group, int flags),
             (fd, path, user, group, flags), "rights", 1)
IN_DIRECTORY(utimensat, (int fd, const char *path, const struct timespec times[2], int flags),
             (fd, path, times, flags), "times", 1)
ON_FILE(int, futimens, (int fd, const struct timespec times[2]), (fd, times), "times", 1)

#define XATTR_OF(name, parameters, arguments, one, path, changes)                                 \
    CALL(ssize_t, name, parameters, arguments, "attributes", changes, one, path, ABSENT, NULL)
XATTR_OF(getxattr, (const char *path, const char *name, void *value, size_t size),
         (path, name, value, size), AT_FDCWD, path, 0)
XATTR_OF(lgetxattr, (const char *path, const char *name, void *value, size_t size),
         (path, name, value, size), AT_FDCWD, path, 0)
XATTR_OF(fgetxattr, (int fd, const char *name, void *value, size_t size), (fd, name, value, size),
         fd, NULL, 0)
XATTR_OF(listxattr, (const char *path, char *list, size_t size), (path, list, size), AT_FDCWD,
         path, 0)
XATTR_OF(llistxattr, (const char *path, char *list, size_t size), (path, list, size), AT_FDCWD,
         path, 0)
XATTR_OF(flistxattr, (int fd, char *list, size_t size), (fd, list, size), fd, NULL, 0)
ON_FILE(int, fsetxattr, (int fd, const char *name, const void *value, size_t size, int flags),
        (fd, name, value, size, flags), "attributes", 1)
ON_PATH(setxattr,
        (const char *path, const char *name, const void *value, size_t size, int flags),
        (path, name, value, size, flags), "attributes", 1)

ON_PATH(stat, (const char *path, struct stat *status), (path, status), "stat", 0)
ON_PATH(stat64, (const char *path, struct stat64 *status), (path, status), "stat", 0)
ON_PATH(lstat, (const char *path, struct stat *status), (path, status), "stat", 0)
ON_PATH(lstat64, (const char *path, struct stat64 *status), (path, status), "stat", 0)
ON_FILE(int, fstat, (int fd, struct stat *status), (fd, status), "stat", 0)
ON_FILE(int, fstat64, (int fd, struct stat64 *status), (fd, status), "stat", 0)
IN_DIRECTORY(fstatat, (int fd, const char *path, struct stat *status, int flags),
             (fd, path, status, flags), "stat", 0)
IN_DIRECTORY(fstatat64, (int fd, const char *path, struct stat64 *status, int flags),
             (fd, path, status, flags), "stat", 0)
IN_DIRECTORY(statx,
             (int fd, const char *path, int flags, unsigned mask, struct statx *status),
             (fd, path, flags, mask, status), "stat", 0)
ON_PATH(access, (const char *path, int mode), (path, mode), "stat", 0)
IN_DIRECTORY(faccessat, (int fd, const char *path, int mode, int flags), (fd, path, mode, flags),
             "stat", 0)
ON_PATH(statvfs64, (const char *path, struct statvfs64 *status), (path, status), "space", 0)
ON_FILE(int, fstatvfs64, (int fd, struct statvfs64 *status), (fd, status), "space", 0)

ON_FILE(int, flock, (int fd, int operation), (fd, operation), "lock", 0)
#define CONTROL(name)                                                                             \
    PUBLIC int name(int fd, int command, ...)                                                     \
    {                                                                                             \
        static void *kept;                                                                        \
        int (*real)(int, int, ...) = (int (*)(int, int, ...))next(&kept, #name);                  \
        va_list more;                                                                             \
        va_start(more, command);                                                                  \
        void *argument = va_arg(more, void *);                                                    \
        va_end(more);                                                                             \
        if ((command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK)                 \
            && meet("lock", #name, 0, fd, NULL, ABSENT, NULL) == FAIL) return -1;                 \
        return real(fd, command, argument);                                                       \
    }
CONTROL(fcntl)
CONTROL(fcntl64)

/* The descriptor is closed in any case, as Linux does. */
PUBLIC int close(int fd)
{
    static void *kept;
    int (*real)(int) = (int (*)(int))next(&kept, "close");
    enum act act = meet("close", "close", 0, fd, NULL, ABSENT, NULL);
    int error = errno;
    int done = real(fd);
    if (act != FAIL) return done;
    errno = error;
    return -1;
}

/* A directory counts where its listing is begun and where it ends, not at each of its names. */
static DIR *begun[STREAMS];

static void forget(DIR *stream)
{
    for (int number = 0; number < STREAMS; number++)
        if (begun[number] == stream) begun[number] = NULL;
}

static int is_begun(DIR *stream)
{
    int free = -1;
    for (int number = 0; number < STREAMS; number++) {
        if (begun[number] == stream) return 1;
        if (!begun[number]) free = number;
    }
    if (free >= 0) begun[free] = stream;
    return 0;
}

PUBLIC DIR *opendir(const char *path)
{
    static void *kept;
    DIR *(*real)(const char *) = (DIR * (*)(const char *)) next(&kept, "opendir");
    if (meet("open", "opendir", 0, AT_FDCWD, path, ABSENT, NULL) == FAIL) return NULL;
    DIR *stream = real(path);
    if (stream) forget(stream);
    return stream;
}

PUBLIC DIR *fdopendir(int fd)
{
    static void *kept;
    DIR *(*real)(int) = (DIR * (*)(int)) next(&kept, "fdopendir");
    if (meet("open", "fdopendir", 0, fd, NULL, ABSENT, NULL) == FAIL) return NULL;
    DIR *stream = real(fd);
    if (stream) forget(stream);
    return stream;
}

#define LIST(name, kind)                                                                          \
    PUBLIC struct kind *name(DIR *stream)                                                         \
    {                                                                                             \
        static void *kept;                                                                        \
        struct kind *(*real)(DIR *) = (struct kind * (*)(DIR *)) next(&kept, #name);              \
        if (!is_begun(stream)                                                                     \
            && meet("list", #name, 0, dirfd(stream), NULL, ABSENT, NULL) == FAIL) return NULL;    \
        int before = errno;                                                                       \
        errno = 0;                                                                                \
        struct kind *entry = real(stream);                                                        \
        if (entry || errno) {                                                                     \
            if (entry) errno = before;                                                            \
            return entry;                                                                         \
        }                                                                                         \
        errno = before;                                                                           \
        meet("list", #name, 0, dirfd(stream), NULL, ABSENT, NULL);                                \
        return NULL;                                                                              \
    }
LIST(readdir, dirent)
LIST(readdir64, dirent64)
