/* log-shipper: starts the wrapper from the tree that was installed beside it.
 *
 * It is statically linked and needs nothing of the image. The wrapper is a Python program with a
 * loader and libraries of its own, and what the image means for the user's program (LD_PRELOAD,
 * PYTHONHOME, LC_ALL) must not reach it. So it gets an environment of a few variables, and the
 * program's environment, byte for byte, through a descriptor that only it can read. Arguments and
 * /proc/<pid>/environ can be read by others; the environment holds a token.
 *
 * DIR/log-shipper                 this file
 * DIR/.log-shipper/TREE_ID/       the tree: LOADER, app, libraries, and this file again as "launch"
 *
 * Where the wrapper can't be started, the user's command is run without it. Logs matter less than the
 * program.
 *
 * Under the name "exec-program" it does the one thing that Python can't: exec a program with an
 * environment that has an entry twice, or entries without a name or a value.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common.h"
#include "tree.h"

#ifndef TREE_ID
#error "TREE_ID must name the tree, as in -DTREE_ID=\"\\\"1.2.3-0badcafe\\\"\""
#endif

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif

#define LOADER "ld-bundled.so.2"

#define TREE_BELOW_DIR ".log-shipper/" TREE_ID

enum {
    SIGNALS = 64,
    /* Descriptors that are handed over get this number or a higher one, where the limit allows it:
     * scripts write to 3, 4 and 5, and supervisors count up from 3. */
    HIGH_FD = 100,
    LOCK_WAIT_MS = 100, /* an installer moves a tree that it has locked aside in less than one */
    LOCK_POLL_MS = 5,
    /* How often the launcher that replaced this one is tried. */
    RELAUNCHES = 3,
    /* Above this the paths of the tree's files might exceed PATH_MAX. */
    TREE_PATH_LENGTH = PATH_MAX - 1024,
};

/* What was being done when it failed; errno says how. */
static const char *doing = "";

static bool failed(const char *what)
{
    doing = what;
    return false;
}

/* ---- What the program is to get as it was ---- */

/* How signals were found, bit n-1 for signal n. */
struct signals {
    uint64_t ignored, blocked;
};

/* The signals that are ignored, bit n-1 for signal n. Python changes some before its first line. The
 * kernel is asked, since the C library hides the signals that it keeps for itself. */
static uint64_t ignored_signals(void)
{
    uint64_t ignored = 0;
    for (int signo = 1; signo <= SIGNALS; signo++) {
        unsigned long action[16] = {0}; /* struct sigaction of the kernel: the handler comes first */
        if (syscall(SYS_rt_sigaction, signo, NULL, action, SIGNALS / 8) == 0 &&
            action[0] == (unsigned long)SIG_IGN)
            ignored |= UINT64_C(1) << (signo - 1);
    }
    return ignored;
}

/* Blocks all signals that can be, and returns what was blocked before, bit n-1 for signal n. Until the
 * wrapper takes signals, one would kill it, or as PID 1 be dropped by the kernel. A blocked one waits,
 * across the exec. The kernel is asked, since the C library leaves out the two that it uses itself. */
static uint64_t block_signals(void)
{
    uint64_t all = UINT64_MAX, before = 0;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, SIGNALS / 8);
    return before;
}

static void unblock_signals(uint64_t before)
{
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, SIGNALS / 8);
}

/* Writes all entries, each ended by a NUL. The kernel lays them end to end, so this is one write,
 * unless somebody has rearranged them. */
static bool write_environment(int fd)
{
    for (char **entry = environ; *entry != NULL;) {
        const char *begin = *entry, *end = begin;
        while (*entry == end)
            end += strlen(*entry++) + 1;
        if (!write_all(fd, begin, (size_t)(end - begin)))
            return false;
    }
    return true;
}

static size_t environment_size(void)
{
    size_t size = 0;
    for (char **entry = environ; *entry != NULL; entry++)
        size += strlen(*entry) + 1;
    return size;
}

static int environment_in_memory(size_t size)
{
    /* A write beyond this limit would kill us. */
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur < size) {
        errno = EFBIG;
        return -1;
    }
    /* Where vm.memfd_noexec is 2 the flag is needed; older kernels don't know it. */
    int fd = memfd_create("environment", MFD_CLOEXEC | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("environment", MFD_CLOEXEC);
    if (fd < 0)
        return -1;
    if (write_environment(fd) && lseek(fd, 0, SEEK_SET) == 0)
        return fd;
    close(fd);
    return -1;
}

/* For a sandbox that refuses memfd_create. */
static int environment_in_pipe(size_t size)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    if (size > PIPE_BUF && size <= INT_MAX)
        fcntl(ends[1], F_SETPIPE_SZ, (int)size); /* where it is refused, writing shows what fits */
    bool is_written = fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0 && write_environment(ends[1]);
    int error = errno;
    close(ends[1]);
    if (is_written)
        return ends[0];
    close(ends[0]);
    errno = error;
    return -1;
}

/* The environment, to be read from here to the end; -1 and errno. */
static int environment_fd(void)
{
    size_t size = environment_size();
    int fd = environment_in_memory(size);
    return fd >= 0 ? fd : environment_in_pipe(size);
}

/* ---- The tree ---- */

/* Whether an open tree is still the one that has the name. */
static bool is_named(int dir_fd, int tree_fd)
{
    struct stat opened, named;
    return fstat(tree_fd, &opened) == 0 && opened.st_nlink > 0 &&
           fstatat(dir_fd, TREE_BELOW_DIR, &named, 0) == 0 && named.st_dev == opened.st_dev &&
           named.st_ino == opened.st_ino;
}

/* Opens the tree and locks it against being deleted by an installer. */
static bool open_tree(const char *dir, int *tree_fd)
{
    int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return failed("opening its directory");
    *tree_fd = openat(dir_fd, TREE_BELOW_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*tree_fd < 0) {
        close(dir_fd);
        return failed("opening " TREE_BELOW_DIR);
    }
    /* An installer that is about to delete the tree holds the lock, one that has deleted it held it, and
     * it moves the tree aside at once. So a tree that keeps its name while somebody holds its lock is
     * held by a stranger, who must not keep us from running. A file system without locks has no
     * installer that deletes. */
    bool is_there = is_named(dir_fd, *tree_fd);
    for (int waited_ms = 0; is_there && waited_ms < LOCK_WAIT_MS; waited_ms += LOCK_POLL_MS) {
        if (flock(*tree_fd, LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK) {
            is_there = is_named(dir_fd, *tree_fd);
            break;
        }
        nanosleep(&(struct timespec){.tv_nsec = LOCK_POLL_MS * 1000000L}, NULL);
        is_there = is_named(dir_fd, *tree_fd);
    }
    close(dir_fd);
    if (!is_there) {
        close(*tree_fd);
        errno = ENOENT;
        return failed("opening " TREE_BELOW_DIR);
    }
    return true;
}

/* Whether nothing of the tree is missing or cut short. What lacks a library or half of a file dies when
 * this process is its loader already, and nobody is left to run the command. That takes 0.3 ms. An image's
 * tree has no mark: it can only be there as a whole. Where there are too few descriptors to look, the
 * wrapper says so itself. */
static bool check_tree(int tree_fd)
{
    if (faccessat(tree_fd, "app", R_OK | X_OK, 0) != 0)
        return failed("finding " TREE_BELOW_DIR "/app");
    if (is_marked(tree_fd) && !is_whole(tree_fd) && errno != EMFILE && errno != ENFILE) {
        errno = errno != 0 ? errno : ENODATA;
        return failed("finding all of " TREE_BELOW_DIR);
    }
    return true;
}

/* Execs DIR/log-shipper: while this launcher was started, an installer may have put a newer one there
 * and deleted our tree. How often that was done is told by the path, "DIR/././log-shipper" the second
 * time, since arguments and environment are the program's. */
static void relaunch(const char *dir, uint64_t blocked, char *const argv[])
{
    static const char dots[2 * RELAUNCHES + 1] = "./././";
    const char *path = executed_as(), *at = base_name(path);
    size_t done = 0;
    while (at - path >= 2 && at[-1] == '/' && at[-2] == '.' && done < RELAUNCHES) {
        done++;
        at -= 2;
    }
    if (done == RELAUNCHES)
        return;
    char *newer = JOIN(dir, "/", dots + strlen(dots) - 2 * (done + 1), "log-shipper");
    if (newer != NULL) {
        unblock_signals(blocked); /* it looks itself */
        execve(newer, argv, environ);
        block_signals();
    }
    free(newer);
}

/* The loader splits --library-path at colons and semicolons, and replaces words that begin with a
 * dollar sign (ld.so(8)). */
static bool is_path_for_the_loader(const char *path)
{
    return path[0] == '/' && strpbrk(path, ":;$") == NULL && strlen(path) < TREE_PATH_LENGTH;
}

/* ---- Starting the wrapper ---- */

/* Keeps a descriptor across the exec, and moves it up as far as HIGH_FD and the limit say. */
static int handed_over(int fd)
{
    for (int lowest = HIGH_FD; lowest > fd && lowest > STDERR_FILENO; lowest--) {
        int high = fcntl(fd, F_DUPFD, lowest);
        if (high >= 0) {
            close(fd);
            return high;
        }
    }
    fcntl(fd, F_SETFD, 0);
    return fd;
}

/* Execs the loader. Returns false where that fails. */
static bool exec_wrapper(const char *name, const char *dir, const struct signals *signals,
                         int env_fd, int tree_fd, int argc, char *const argv[])
{
    char env_number[NUMBER_SIZE], tree_number[NUMBER_SIZE], ignored_number[NUMBER_SIZE],
        blocked_number[NUMBER_SIZE];
    const char *env_text = as_text((uint64_t)env_fd, 10, env_number);
    const char *tree_text = as_text((uint64_t)tree_fd, 10, tree_number);
    const char *ignored_text = as_text(signals->ignored, 16, ignored_number);
    const char *blocked_text = as_text(signals->blocked, 16, blocked_number);

    char *tree = JOIN(dir, "/", TREE_BELOW_DIR);
    if (tree != NULL && !is_path_for_the_loader(tree)) {
        free(tree);
        tree = JOIN("/proc/self/fd/", tree_text);
    }
    if (tree == NULL)
        return failed("naming its files");
    char *loader = JOIN(tree, "/" LOADER);
    char *app = JOIN(tree, "/app");
    char *const environment[] = {
        "LC_ALL=C",
        "TZ=UTC0",
        /* One heap for all threads, and none of what is free kept for one of them: 0.2 MB. */
        "GLIBC_TUNABLES=glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0",
        JOIN("OPENSSL_CONF=", tree, "/openssl.cnf"),
        JOIN("PTYSHIPPER_LAUNCH=", env_text, " ", tree_text, " ", ignored_text, " ", blocked_text, " ",
             name, " ", dir),
        NULL,
    };
    char *const options[] = {
        loader, "--inhibit-cache", "--library-path", tree, "--argv0", app, app,
    };
    enum {
        OPTIONS = sizeof options / sizeof options[0],
        VARIABLES = sizeof environment / sizeof environment[0] - 1,
    };
    for (size_t i = 0; i < OPTIONS; i++)
        if (options[i] == NULL)
            return failed("naming its files");
    for (size_t i = 0; i < VARIABLES; i++)
        if (environment[i] == NULL)
            return failed("naming its variables");
    size_t arguments = argc > 1 ? (size_t)argc - 1 : 0;
    char **words = calloc(OPTIONS + arguments + 1, sizeof *words);
    if (words == NULL)
        return failed("naming its arguments");
    memcpy(words, options, sizeof options);
    memcpy(words + OPTIONS, argv + 1, arguments * sizeof *words);
    execve(loader, words, environment);
    free(words); /* the rest goes with the next exec */
    return failed("executing " LOADER);
}

/* Returns false where the wrapper can't be started. Nothing that was opened is left open. */
static bool start_wrapper(const char *name, const struct signals *signals, int argc,
                          char *const argv[])
{
    char *dir = own_directory();
    if (dir == NULL)
        return failed("finding its directory");
    if (access("/proc/self/exe", F_OK) != 0) /* the wrapper learns from /proc what is open */
        return failed("looking for /proc/self/exe");
    int tree_fd;
    if (!open_tree(dir, &tree_fd)) {
        int error = errno;
        if (error == ENOENT)
            relaunch(dir, signals->blocked, argv);
        errno = error;
        return false;
    }
    int env_fd = -1;
    if (check_tree(tree_fd)) {
        env_fd = environment_fd();
        if (env_fd < 0)
            failed("handing the environment over");
    }
    if (env_fd < 0) {
        int error = errno;
        close(tree_fd);
        errno = error;
        return false;
    }
    tree_fd = handed_over(tree_fd);
    env_fd = handed_over(env_fd);
    exec_wrapper(name, dir, signals, env_fd, tree_fd, argc, argv);
    int error = errno;
    close(env_fd);
    close(tree_fd);
    errno = error;
    return false;
}

/* ---- exec-program ---- */

/* Everything that is in a descriptor, with a NUL behind it; NULL and errno. */
static char *read_all(int fd, size_t *size)
{
    /* A memfd is read from its beginning, whoever has read of it; a pipe has no position. */
    if (lseek(fd, 0, SEEK_SET) < 0 && errno != ESPIPE)
        return NULL;
    size_t room = 65536;
    char *data = malloc(room);
    *size = 0;
    while (data != NULL) {
        ssize_t got = read(fd, data + *size, room - *size - 1);
        if (got == 0) {
            data[*size] = '\0';
            return data;
        }
        if (got < 0 && errno != EINTR) {
            free(data);
            return NULL;
        }
        *size += got > 0 ? (size_t)got : 0;
        if (*size == room - 1) {
            room *= 2;
            char *more = realloc(data, room);
            if (more == NULL)
                free(data);
            data = more;
        }
    }
    return NULL;
}

/* The entries that end in a NUL each, as execve(2) wants them; NULL and errno. */
static char **entries_of(char *data, size_t size)
{
    size_t count = 0;
    for (size_t i = 0; i < size; i++)
        count += data[i] == '\0';
    char **entries = calloc(count + 2, sizeof *entries);
    if (entries == NULL)
        return NULL;
    size_t next = 0;
    for (char *at = data; at < data + size; at += strlen(at) + 1)
        entries[next++] = at;
    return entries;
}

static int descriptor(const char *text)
{
    int fd = 0;
    for (const char *at = text; *at != '\0'; at++) {
        if (*at < '0' || *at > '9' || fd > INT_MAX / 10 - 1)
            return -1;
        fd = 10 * fd + (*at - '0');
    }
    return *text != '\0' ? fd : -1;
}

static int exec_with_environment(int env_fd, const char *path, char *const argv[])
{
    size_t size;
    char *data = read_all(env_fd, &size);
    if (data == NULL)
        return errno;
    close(env_fd);
    char **environment = entries_of(data, size);
    if (environment == NULL)
        return errno;
    execve(path, argv, environment);
    return errno;
}

/* exec-program ENV_FD FAILURE_FD PATH ARGV0 [ARG...] */
static _Noreturn void exec_program(int argc, char *const argv[])
{
    int env_fd = argc > 4 ? descriptor(argv[1]) : -1;
    int failure_fd = argc > 4 ? descriptor(argv[2]) : -1;
    if (env_fd < 0 || failure_fd < 0) {
        SAY(STDERR_FILENO, "exec-program is for the wrapper's own use");
        _exit(EXIT_NOT_EXECUTABLE);
    }
    fcntl(failure_fd, F_SETFD, FD_CLOEXEC);
    int error = exec_with_environment(env_fd, argv[3], argv + 4);
    write_all(failure_fd, (const char *)&error, sizeof error);
    _exit(EXIT_NOT_EXECUTABLE);
}

int main(int argc, char *argv[])
{
    const char *called = argc > 0 ? argv[0] : "";
    if (strcmp(called, "exec-program") == 0)
        exec_program(argc, argv);

    struct signals signals = {.blocked = block_signals(), .ignored = ignored_signals()};
    bool is_ptyshipper = strcmp(base_name(called), "ptyshipper") == 0;
    hold_stdio();
    start_wrapper(is_ptyshipper ? "ptyshipper" : "log-shipper", &signals, argc, argv);
    const char *reason = strerror(errno);
    if (is_ptyshipper) {
        SAY(STDERR_FILENO, "can't start: ", doing, ": ", reason, "; install it anew");
        _exit(EXIT_FAILED);
    }
    SAY(STDERR_FILENO, "can't start: ", doing, ": ", reason, "; the command runs without it");
    unblock_signals(signals.blocked);
    run_bare(argc > 1 ? argv + 1 : (char *const[]){NULL});
}
