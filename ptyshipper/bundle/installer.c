/* The installer: puts the launcher and its tree into a directory.
 *
 *   install-log-shipper DIR, ptyshipper install DIR     install
 *   any other name                                      run directly: install into the first place that
 *                                                       allows it, then exec the launcher there
 *
 * It holds the tree as an archive appended to its own file, or finds it in the directory that it is in
 * itself, where it copies it from.
 *
 * DIR/log-shipper                              the launcher
 * DIR/.log-shipper/TREE_ID/                    its tree
 * DIR/.log-shipper/.TREE_ID.0123456789abcdef/  a tree that is being made, or removed
 *
 * Everything gets its name by rename(2) once it is whole. So whenever this is killed, DIR/log-shipper is
 * the launcher of the former or of this version, and its tree is there.
 *
 * Locks (flock(2)), all given back by the kernel when their holder dies:
 * - on a tree, shared: it is in use, by a wrapper or by an installer that makes it;
 * - on a tree, exclusive: it is being removed; never waited for;
 * - on DIR/.log-shipper, exclusive: an installer puts its version in place and removes others. Without
 *   it two of them could each remove the other's tree.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "archive.h"
#include "common.h"
#include "tree.h"

#ifndef TREE_ID
#error "TREE_ID must name the tree, as in -DTREE_ID=\"\\\"1.2.3-0badcafe\\\"\""
#endif
#ifndef VERSION
#error "VERSION must be what people call it, as in -DVERSION=\"\\\"1.2.3\\\"\""
#endif

#define TREES ".log-shipper"
#define LAUNCHER "log-shipper"
#define LAUNCHER_IN_TREE "launch"

enum {
    LOCK_WAIT_MS = 3000, /* another installer holds it for 0.02 s, with 0.1 CPU for 0.2 s */
    LOCK_POLL_MS = 10,
    NAME_ATTEMPTS = 100,
};

/* ---- Where the tree comes from ---- */

struct source {
    struct archive archive; /* its fd is -1 where the tree is copied */
    int tree_fd;            /* or this one is */
};

static bool open_source(struct source *source)
{
    *source = (struct source){.archive = {.fd = -1}, .tree_fd = -1};
    int self_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (self_fd < 0)
        self_fd = open(executed_as(), O_RDONLY | O_CLOEXEC);
    if (self_fd < 0)
        return fail("reading", "this program's own file");
    if (find_archive(self_fd, &source->archive))
        return true;
    close(self_fd);
    if (failure.doing != NULL)
        return false;
    char *directory = own_directory();
    char *path = directory != NULL ? JOIN(directory, "/" TREES "/" TREE_ID) : NULL;
    if (path != NULL)
        source->tree_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(path);
    free(directory);
    return source->tree_fd >= 0 ||
           fail_because("finding", TREES "/" TREE_ID,
                        "this file holds no tree, and there is none beside it", 0);
}

static bool fill_from(const struct source *source, int tree_fd)
{
    return source->tree_fd >= 0 ? copy_tree(source->tree_fd, tree_fd)
                                : unpack(&source->archive, tree_fd);
}

/* ---- Names and locks ---- */

enum { UNIQUE_LENGTH = 16, TEMPORARY_SIZE = 256 };

/* ".STEM.0123456789abcdef" */
static void make_temporary_name(const char *stem, char name[TEMPORARY_SIZE])
{
    uint64_t number;
    if (getrandom(&number, sizeof number, GRND_NONBLOCK) != (ssize_t)sizeof number) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        number = (uint64_t)now.tv_sec << 32 ^ (uint64_t)now.tv_nsec << 16 ^ (uint64_t)getpid();
    }
    snprintf(name, TEMPORARY_SIZE, ".%.200s.%016llx", stem, (unsigned long long)number);
}

/* Whether a name is one of those. A left-over is removed by it, so it must not fit anything else. */
static bool is_temporary_name(const char *name)
{
    size_t length = strlen(name);
    if (name[0] != '.' || length < UNIQUE_LENGTH + 3)
        return false;
    const char *unique = name + length - UNIQUE_LENGTH;
    return unique[-1] == '.' && strspn(unique, "0123456789abcdef") == UNIQUE_LENGTH;
}

static int open_directory(int parent_fd, const char *name)
{
    return openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Opens a tree and takes a shared lock, so that nobody removes it; -1 where it is not there or just being
 * removed. On a file system without locks nobody removes any. */
static int hold_tree(int trees_fd, const char *name)
{
    int fd = open_directory(trees_fd, name);
    struct stat opened, named;
    if (fd >= 0 && (flock(fd, LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK) &&
        fstat(fd, &opened) == 0 && fstatat(trees_fd, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
        opened.st_dev == named.st_dev && opened.st_ino == named.st_ino)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static int hold_whole_tree(int trees_fd)
{
    int fd = hold_tree(trees_fd, TREE_ID);
    if (fd >= 0 && !is_whole(fd)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* Whether the lock was got. A stranger who holds it for ever must not keep us from installing. */
static bool lock_patiently(int fd)
{
    for (int waited_ms = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; waited_ms += LOCK_POLL_MS) {
        if ((errno != EWOULDBLOCK && errno != EINTR) || waited_ms >= LOCK_WAIT_MS)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = LOCK_POLL_MS * 1000000L}, NULL);
    }
    return true;
}

/* ---- Installing ---- */

/* A new directory under a temporary name, held; -1 where it can't be made. */
static int make_temporary_tree(int trees_fd, char name[TEMPORARY_SIZE])
{
    for (int attempt = 0; attempt < NAME_ATTEMPTS; attempt++) {
        make_temporary_name(TREE_ID, name);
        if (!make_directory(trees_fd, name)) {
            if (failure.error == EEXIST)
                continue;
            return -1;
        }
        int fd = hold_tree(trees_fd, name);
        if (fd >= 0)
            return fd; /* else another installer has taken it for a left-over */
        remove_tree(trees_fd, name);
    }
    return -1;
}

/* A whole tree under a temporary name, held; -1 where it can't be made. */
static int make_tree(const struct source *source, int trees_fd, char name[TEMPORARY_SIZE])
{
    int fd = make_temporary_tree(trees_fd, name);
    if (fd >= 0 && !(fill_from(source, fd) && mark_whole(fd))) {
        close(fd);
        remove_tree(trees_fd, name);
        fd = -1;
    }
    return fd;
}

/* Gives the new tree its name. One that is there under this name and not whole gets the temporary one:
 * a wrapper that runs from it finds its files in the new tree. */
static bool name_tree(int trees_fd, const char *temporary)
{
    if (renameat(trees_fd, temporary, trees_fd, TREE_ID) == 0)
        return true;
    enum { EXCHANGE = 1 << 1 }; /* RENAME_EXCHANGE, which musl's headers lack */
    if (syscall(SYS_renameat2, trees_fd, temporary, trees_fd, TREE_ID, EXCHANGE) == 0)
        return true;
    char aside[TEMPORARY_SIZE];
    make_temporary_name(TREE_ID, aside);
    return (renameat(trees_fd, TREE_ID, trees_fd, aside) == 0 &&
            renameat(trees_fd, temporary, trees_fd, TREE_ID) == 0) ||
           fail("creating", TREES "/" TREE_ID);
}

static bool copy_launcher(int tree_fd, int to_fd)
{
    int from_fd = openat(tree_fd, LAUNCHER_IN_TREE, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (from_fd < 0)
        return fail("reading", TREES "/" TREE_ID "/" LAUNCHER_IN_TREE);
    bool is_copied = copy_contents(from_fd, to_fd) || fail("writing", LAUNCHER);
    close(from_fd);
    return is_copied;
}

static bool place_launcher(int dir_fd, int trees_fd, int tree_fd)
{
    if (is_same_file(tree_fd, LAUNCHER_IN_TREE, dir_fd, LAUNCHER))
        return true;
    char temporary[TEMPORARY_SIZE];
    make_temporary_name(LAUNCHER_IN_TREE, temporary);
    int fd = create_file(trees_fd, temporary, true);
    if (fd < 0)
        return false;
    bool is_copied = copy_launcher(tree_fd, fd);
    bool is_placed = close_written(fd, LAUNCHER) && is_copied &&
                     (renameat(trees_fd, temporary, dir_fd, LAUNCHER) == 0 ||
                      fail("creating", LAUNCHER));
    if (!is_placed)
        unlinkat(trees_fd, temporary, 0);
    return is_placed;
}

/* Removes a tree of another version or a left-over, unless it is in use. Nothing else: what else is in
 * the directory is not ours. */
static void remove_if_unused(int trees_fd, const char *name)
{
    bool is_temporary = is_temporary_name(name);
    int fd = open_directory(trees_fd, name);
    if (fd < 0) {
        if (is_temporary)
            unlinkat(trees_fd, name, 0); /* a launcher that never got its name */
        return;
    }
    if ((is_temporary || is_marked(fd)) && flock(fd, LOCK_EX | LOCK_NB) == 0) {
        char aside[TEMPORARY_SIZE];
        make_temporary_name(name, aside);
        if (is_temporary)
            remove_tree(trees_fd, name);
        else if (renameat(trees_fd, name, trees_fd, aside) == 0)
            remove_tree(trees_fd, aside);
    }
    close(fd);
}

static void clean(int trees_fd)
{
    int listed_fd = open_directory(trees_fd, ".");
    DIR *listing = listed_fd >= 0 ? fdopendir(listed_fd) : NULL;
    if (listing == NULL) {
        if (listed_fd >= 0)
            close(listed_fd);
        return;
    }
    for (struct dirent *entry; (entry = readdir(listing)) != NULL;)
        if (strcmp(entry->d_name, TREE_ID) != 0 && strcmp(entry->d_name, ".") != 0 &&
            strcmp(entry->d_name, "..") != 0)
            remove_if_unused(trees_fd, entry->d_name);
    closedir(listing);
}

static bool install_below(const struct source *source, int dir_fd, int trees_fd)
{
    char temporary[TEMPORARY_SIZE] = "";
    int tree_fd = hold_whole_tree(trees_fd);
    if (tree_fd < 0)
        tree_fd = make_tree(source, trees_fd, temporary);
    if (tree_fd < 0)
        return false;
    bool is_locked = lock_patiently(trees_fd);
    bool is_named = temporary[0] == '\0';
    if (!is_named) {
        int other_fd = hold_whole_tree(trees_fd);
        if (other_fd >= 0) { /* another installer was first, and wrappers may run from its tree */
            close(tree_fd);
            tree_fd = other_fd;
            is_named = true;
            remove_tree(trees_fd, temporary);
        } else {
            is_named = name_tree(trees_fd, temporary);
        }
    }
    bool is_installed = is_named && place_launcher(dir_fd, trees_fd, tree_fd);
    if (is_installed && is_locked)
        clean(trees_fd);
    if (!is_named)
        remove_tree(trees_fd, temporary);
    if (is_locked)
        flock(trees_fd, LOCK_UN);
    close(tree_fd);
    return is_installed;
}

/* Installs into a directory that is there. What fails leaves the launcher as it was; a tree that got
 * its name may stay. */
static bool install(const struct source *source, int dir_fd)
{
    if (mkdirat(dir_fd, TREES, 0755) != 0 && errno != EEXIST)
        return fail("creating", TREES);
    int trees_fd = open_directory(dir_fd, TREES);
    if (trees_fd < 0)
        return fail("opening", TREES);
    bool is_installed = install_below(source, dir_fd, trees_fd);
    close(trees_fd);
    return is_installed;
}

/* What a person can do about it. */
static const char *remedy(int error)
{
    switch (error) {
    case 0:
        return "; get this program anew";
    case EROFS:
        return "; mount it writable";
    case ENOSPC:
    case EDQUOT:
        return "; make room there";
    case EACCES:
    case EPERM:
        return "; let this user write there";
    case ENOENT:
        return "; create what it lies in";
    case ENOTDIR:
        return "; name a directory";
    default:
        return "";
    }
}

/* Installs into a directory that is made where it is missing. */
static bool make_and_install(const struct source *source, const char *dir)
{
    if (mkdir(dir, 0755) != 0 && errno != EEXIST)
        return fail("creating", "it");
    int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return fail("opening", "it");
    bool is_installed = install(source, dir_fd);
    close(dir_fd);
    return is_installed;
}

static int install_command(const char *dir)
{
    struct source source;
    if (open_source(&source) && make_and_install(&source, dir)) {
        SAY(STDOUT_FILENO, "installed " VERSION " in ", dir);
        return EXIT_SUCCESS;
    }
    SAY(STDERR_FILENO, "can't install into ", dir, ": ", failure.doing, " ", failure.name, ": ",
        failure.reason, remedy(failure.error));
    return EXIT_FAILED;
}

/* ---- Running directly ---- */

/* Opens the directory of our own in a place, PLACE/.log-shipper-UID, which nobody else may write in or
 * look into: others may be able to write in the place. */
static int open_private(const char *place, char **path)
{
    char number[NUMBER_SIZE];
    *path = JOIN(place, "/" TREES "-", as_text(geteuid(), 10, number));
    struct statvfs mount;
    struct stat made;
    if (*path == NULL || statvfs(place, &mount) != 0) {
        fail("opening", "it");
        return -1;
    }
    if ((mount.f_flag & ST_NOEXEC) != 0) {
        fail_because("executing", "there", "it is mounted noexec", EACCES);
        return -1;
    }
    if (mkdir(*path, 0700) != 0 && errno != EEXIST) {
        fail("creating", base_name(*path));
        return -1;
    }
    int fd = open(*path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        fail("opening", base_name(*path));
        return -1;
    }
    if (fstat(fd, &made) == 0 && made.st_uid == geteuid() && (made.st_mode & 077) == 0)
        return fd;
    close(fd);
    fail_because("opening", base_name(*path), "its " TREES " is not this user's alone", EPERM);
    return -1;
}

/* What was there before we changed it, and what the launcher and the program must find. */
struct before {
    mode_t umask;
    struct sigaction on_file_size;
};

static void prepare(struct before *before)
{
    before->umask = umask(022);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGXFSZ, &ignore, &before->on_file_size); /* a write beyond the limit fails instead */
}

static void restore(const struct before *before)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGXFSZ, &ignore, NULL); /* drops one that was blocked and is pending (see say()) */
    sigaction(SIGXFSZ, &before->on_file_size, NULL);
    umask(before->umask);
}

/* Installs into one place and execs the launcher there; returns where that fails. */
static void run_from(const char *place, const struct source *source, char *const argv[])
{
    char *path;
    struct before before;
    prepare(&before);
    int fd = open_private(place, &path);
    bool is_installed = fd >= 0 && install(source, fd);
    if (fd >= 0 && !is_installed) { /* leave nothing behind; what is not empty stays */
        unlinkat(fd, TREES, AT_REMOVEDIR);
        rmdir(path);
    }
    restore(&before);
    if (fd >= 0)
        close(fd);
    char *launcher = is_installed ? JOIN(path, "/" LAUNCHER) : NULL;
    if (launcher != NULL)
        execve(launcher, argv, environ);
    if (is_installed)
        fail("executing", LAUNCHER);
    free(launcher);
    free(path);
}

/* Returns where no place allows it: what is wrong with each, or NULL where memory ran out. */
static char *run_directly(char *const argv[])
{
    enum { PLACES = 7 };
    struct source source;
    if (!open_source(&source))
        return JOIN(failure.doing, " ", failure.name, ": ", failure.reason, remedy(0));
    char *own = own_directory();
    const char *const places[PLACES] = {
        own, getenv("TMPDIR"), "/tmp", "/var/tmp", "/dev/shm", "/run", ".",
    };
    char *reasons = JOIN("no place to unpack: ");
    failure.error = -1;
    for (int i = 0; i < PLACES && failure.error != 0; i++) {
        bool is_tried = places[i] == NULL || *places[i] == '\0';
        for (int earlier = 0; earlier < i && !is_tried; earlier++)
            is_tried = places[earlier] != NULL && strcmp(places[earlier], places[i]) == 0;
        if (is_tried)
            continue;
        run_from(places[i], &source, argv);
        char *longer = JOIN(reasons != NULL ? reasons : "", places[i], ": ", failure.reason, "; ");
        free(reasons);
        reasons = longer;
    }
    free(own);
    char *advice = JOIN(reasons != NULL ? reasons : "",
                        "mount a writable volume, or use install-log-shipper DIR");
    free(reasons);
    return advice;
}

int main(int argc, char *argv[])
{
    const char *called = argc > 0 ? base_name(argv[0]) : "";
    bool is_ptyshipper = strcmp(called, "ptyshipper") == 0;
    hold_stdio();
    if (strcmp(called, "install-log-shipper") == 0 ||
        (is_ptyshipper && argc > 1 && strcmp(argv[1], "install") == 0)) {
        int words = is_ptyshipper ? 2 : 1;
        if (argc != words + 1 || argv[words][0] == '\0' || argv[words][0] == '-') {
            SAY(STDERR_FILENO, "use: ", is_ptyshipper ? "ptyshipper install" : called, " DIR");
            return EXIT_USAGE;
        }
        struct before before;
        prepare(&before);
        return install_command(argv[words]);
    }
    char *reason = run_directly(argv);
    const char *shown = reason != NULL ? reason : "no memory";
    if (is_ptyshipper) {
        SAY(STDERR_FILENO, "can't start: ", shown);
        return EXIT_FAILED;
    }
    SAY(STDERR_FILENO, "can't start: ", shown, "; the command runs without it");
    run_bare(argc > 1 ? argv + 1 : (char *const[]){NULL});
}
