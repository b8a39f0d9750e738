/* Start a program in another root, or with what Python's exec can't express.
 *
 *   enter [-r ROOT] [-e FILE] [-i SIGNAL]... PROGRAM [ARG]...
 *
 *   -r ROOT     the root directory becomes ROOT, with this machine's /proc and /dev in it, in a mount
 *               namespace of its own, so that nothing stays mounted; the working directory becomes /
 *   -e FILE     the environment is what FILE holds: entries, each ended by NUL, just as they are
 *   -i SIGNAL   the signal is ignored
 *
 * All else is inherited: no descriptor, mask or disposition is touched. PROGRAM is a path.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_BYTES (1 << 20)
#define MOST_ENTRIES 4096

static char environment_bytes[MOST_BYTES];
static char *environment[MOST_ENTRIES + 1];

static void fail(const char *what)
{
    dprintf(2, "enter: %s: %s\n", what, strerror(errno));
    _exit(99);
}

static void bind(const char *root, const char *what)
{
    char where[4096];
    snprintf(where, sizeof where, "%s%s", root, what);
    if (mkdir(where, 0755) < 0 && errno != EEXIST)
        fail(where);
    if (mount(what, where, NULL, MS_BIND | MS_REC, NULL) < 0)
        fail(where);
}

static void change_root(const char *root)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        fail("mount namespace");
    bind(root, "/proc");
    bind(root, "/dev");
    if (chroot(root) < 0 || chdir("/") < 0)
        fail(root);
}

static void read_environment(const char *path)
{
    int fd = open(path, O_RDONLY);
    ssize_t size = fd < 0 ? -1 : read(fd, environment_bytes, sizeof environment_bytes);
    if (size < 0 || size == sizeof environment_bytes)
        fail(path);
    close(fd);
    size_t count = 0;
    for (char *at = environment_bytes; at < environment_bytes + size; at += strlen(at) + 1) {
        if (count == MOST_ENTRIES)
            fail(path);
        environment[count++] = at;
    }
}

int main(int argc, char **argv)
{
    extern char **environ;
    const char *root = NULL, *file = NULL;
    for (int option; (option = getopt(argc, argv, "+r:e:i:")) != -1;) {
        if (option == 'r')
            root = optarg;
        else if (option == 'e')
            file = optarg;
        else if (option == 'i')
            signal(atoi(optarg), SIG_IGN);
        else
            return 99;
    }
    if (optind == argc)
        return 99;
    if (file)
        read_environment(file);
    if (root)
        change_root(root);
    execve(argv[optind], argv + optind, file ? environment : environ);
    fail(argv[optind]);
}
