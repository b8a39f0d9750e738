#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

char *join(const char *const parts[])
{
    size_t size = 1;
    for (size_t i = 0; parts[i] != NULL; i++)
        size += strlen(parts[i]);
    char *joined = malloc(size);
    if (joined == NULL)
        return NULL;
    char *end = joined;
    for (size_t i = 0; parts[i] != NULL; i++)
        end = stpcpy(end, parts[i]);
    *end = '\0';
    return joined;
}

const char *as_text(uint64_t number, unsigned base, char buffer[NUMBER_SIZE])
{
    char *at = buffer + NUMBER_SIZE;
    *--at = '\0';
    do {
        *--at = "0123456789abcdef"[number % base];
        number /= base;
    } while (number > 0);
    return at;
}

bool write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t written = write(fd, data, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        data += written;
        size -= (size_t)written;
    }
    return true;
}

void say(int fd, const char *const parts[])
{
    static const char digits[] = "0123456789abcdef";
    char line[PIPE_BUF] = "ptyshipper: "; /* a pipe takes as much in one piece */
    size_t length = strlen(line);
    for (size_t i = 0; parts[i] != NULL; i++) {
        for (const char *at = parts[i]; *at != '\0' && length < sizeof line - 5; at++) {
            unsigned char byte = (unsigned char)*at;
            if (byte < ' ' || byte == 0x7f) {
                line[length++] = '\\';
                line[length++] = 'x';
                line[length++] = digits[byte >> 4];
                line[length++] = digits[byte & 15];
            } else {
                line[length++] = *at;
            }
        }
    }
    line[length++] = '\n';

    struct pollfd writable = {.fd = fd, .events = POLLOUT};
    if (poll(&writable, 1, 0) != 1 || writable.revents != POLLOUT)
        return;
    /* Its reader may go between poll and write. Ignoring a second time drops a SIGPIPE that is pending
     * because it was blocked (POSIX, 2.4.3), and the program must not get ours. */
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    bool is_ignored = sigaction(SIGPIPE, &ignore, &before) == 0;
    ssize_t written = write(fd, line, length);
    (void)written;
    if (is_ignored) {
        sigaction(SIGPIPE, &ignore, NULL);
        sigaction(SIGPIPE, &before, NULL);
    }
}

const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

const char *executed_as(void)
{
    const char *name = (const char *)getauxval(AT_EXECFN);
    return name != NULL ? name : "";
}

/* Cuts the last part off an absolute path, and every "/." before it. */
static void cut_to_directory(char *path)
{
    char *end = strrchr(path, '/');
    while (end - path >= 2 && end[-1] == '.' && end[-2] == '/')
        end -= 2;
    end[end == path ? 1 : 0] = '\0';
}

char *own_directory(void)
{
    char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    /* " (deleted)" behind the name goes with the name; "(unreachable)" before it is no path. */
    if (length > 0 && path[0] == '/') {
        path[length] = '\0';
        cut_to_directory(path);
        return JOIN(path);
    }
    const char *name = executed_as();
    if (*name == '\0') {
        errno = ENOENT;
        return NULL;
    }
    char *whole;
    if (name[0] == '/')
        whole = JOIN(name);
    else if (getcwd(path, sizeof path) == NULL)
        whole = JOIN("./", name);
    else
        whole = JOIN(strcmp(path, "/") != 0 ? path : "", "/", name);
    if (whole != NULL)
        cut_to_directory(whole);
    return whole;
}

void hold_stdio(void)
{
    int fd;
    do {
        fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

static void remove_private_variables(void)
{
    char **kept = environ;
    for (char **entry = environ; *entry != NULL; entry++)
        if (strncmp(*entry, PRIVATE_PREFIX, strlen(PRIVATE_PREFIX)) != 0)
            *kept++ = *entry;
    *kept = NULL;
}

/* Execs one candidate. Returns why that failed: ENOENT where there is none; one that is there and yet
 * not found lacks its interpreter or its loader. */
static int execute(const char *path, char *const argv[])
{
    execve(path, argv, environ);
    int error = errno;
    if (error != ENOENT && error != ENOTDIR)
        return error;
    return access(path, F_OK) == 0 ? ELIBBAD : ENOENT;
}

/* As ptyshipper/child/spawn.py does it: no shell is tried for a text without "#!". */
static int search_and_execute(char *const argv[])
{
    const char *name = argv[0];
    if (*name == '\0')
        return ENOENT;
    if (strchr(name, '/') != NULL)
        return execute(name, argv);
    const char *folder = getenv("PATH");
    if (folder == NULL)
        folder = "/bin:/usr/bin";
    int failure = ENOENT;
    for (;;) {
        size_t length = strcspn(folder, ":");
        char path[PATH_MAX];
        int error = ENAMETOOLONG;
        if (length + strlen(name) + 3 <= sizeof path) {
            char *end = length > 0 ? mempcpy(path, folder, length) : stpcpy(path, ".");
            stpcpy(stpcpy(end, "/"), name);
            error = execute(path, argv);
        }
        if (error != ENOENT)
            failure = error;
        if (folder[length] == '\0')
            return failure;
        folder += length + 1;
    }
}

_Noreturn void run_bare(char *const argv[])
{
    if (argv[0] == NULL) {
        SAY(STDERR_FILENO, "log-shipper: no command; use: log-shipper COMMAND [ARG…]");
        _exit(EXIT_USAGE);
    }
    remove_private_variables();
    int error = search_and_execute(argv);
    if (error == ENOENT) {
        bool is_path = strchr(argv[0], '/') != NULL;
        SAY(STDERR_FILENO, argv[0], is_path ? ": no such file" : ": command not found");
        _exit(EXIT_NOT_FOUND);
    }
    SAY(STDERR_FILENO, argv[0], ": can't be executed: ",
        error == ELIBBAD ? "its interpreter or loader is missing" : strerror(error));
    _exit(EXIT_NOT_EXECUTABLE);
}
