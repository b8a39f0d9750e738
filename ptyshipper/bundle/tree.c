#define _GNU_SOURCE
#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common.h"

#define MARK ".whole"

struct failure failure;

bool fail_because(const char *doing, const char *name, const char *reason, int error)
{
    failure.doing = doing;
    failure.reason = reason;
    failure.error = error;
    size_t length = strnlen(name, sizeof failure.name - 1);
    memcpy(failure.name, name, length);
    failure.name[length] = '\0';
    return false;
}

bool fail(const char *doing, const char *name)
{
    int error = errno;
    return fail_because(doing, name, strerror(error), error);
}

bool make_directory(int parent_fd, const char *name)
{
    return mkdirat(parent_fd, name, 0755) == 0 || fail("creating", name);
}

int create_file(int parent_fd, const char *name, bool is_executable)
{
    int fd = openat(parent_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                    is_executable ? 0755 : 0644);
    if (fd < 0)
        fail("creating", name);
    return fd;
}

bool close_written(int fd, const char *name)
{
    return close(fd) == 0 || fail("writing", name);
}

/* ---- Copying ---- */

/* From the cheapest to the one that always works. All go by the files' own positions, so one can go on
 * where another gave up. */
enum way { COPY_FILE_RANGE, SENDFILE, READ_AND_WRITE };

static ssize_t copy_some(enum way way, int from_fd, int to_fd)
{
    enum { AT_ONCE = 1 << 20 };
    if (way == COPY_FILE_RANGE)
        return copy_file_range(from_fd, NULL, to_fd, NULL, AT_ONCE, 0);
    if (way == SENDFILE)
        return sendfile(to_fd, from_fd, NULL, AT_ONCE);
    static char buffer[65536];
    ssize_t got = read(from_fd, buffer, sizeof buffer);
    return got <= 0 || write_all(to_fd, buffer, (size_t)got) ? got : -1;
}

bool copy_contents(int from_fd, int to_fd)
{
    enum way way = COPY_FILE_RANGE;
    for (;;) {
        ssize_t copied = copy_some(way, from_fd, to_fd);
        if (copied > 0 || (copied < 0 && errno == EINTR))
            continue;
        /* Also the end is believed only the last: some file systems answer copy_file_range with 0. */
        if (way == READ_AND_WRITE)
            return copied == 0;
        way++;
    }
}

static bool copy_file(int from_parent_fd, int to_parent_fd, const char *name, bool is_executable)
{
    int from_fd = openat(from_parent_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (from_fd < 0)
        return fail("reading", name);
    int to_fd = create_file(to_parent_fd, name, is_executable);
    bool is_copied = to_fd >= 0;
    if (is_copied && !copy_contents(from_fd, to_fd))
        is_copied = fail("writing", name);
    if (to_fd >= 0 && !close_written(to_fd, name))
        is_copied = false;
    close(from_fd);
    return is_copied;
}

static int open_directory(int parent_fd, const char *name)
{
    return openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* The entries of a directory; NULL and errno. */
static DIR *list(int parent_fd, const char *name)
{
    int fd = open_directory(parent_fd, name);
    if (fd < 0)
        return NULL;
    DIR *listing = fdopendir(fd);
    if (listing == NULL)
        close(fd);
    return listing;
}

/* The next entry but "." and ".."; NULL and errno, which is 0 at the end. */
static const char *next_name(DIR *listing)
{
    errno = 0;
    struct dirent *entry;
    do {
        entry = readdir(listing);
    } while (entry != NULL && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
    return entry != NULL ? entry->d_name : NULL;
}

static bool is_mark(const char *name, int depth)
{
    return depth == 0 && strcmp(name, MARK) == 0;
}

static bool copy_level(int from_fd, int to_fd, int depth);

static bool copy_entry(int from_fd, int to_fd, const char *name, int depth)
{
    struct stat entry;
    if (fstatat(from_fd, name, &entry, AT_SYMLINK_NOFOLLOW) != 0)
        return fail("reading", name);
    if (S_ISREG(entry.st_mode))
        return copy_file(from_fd, to_fd, name, (entry.st_mode & 0111) != 0);
    if (!S_ISDIR(entry.st_mode))
        return fail_because("copying", name, "it is neither a file nor a directory", 0);
    if (!make_directory(to_fd, name))
        return false;
    int from_below = open_directory(from_fd, name), to_below = open_directory(to_fd, name);
    bool is_copied = from_below >= 0 && to_below >= 0 ? copy_level(from_below, to_below, depth + 1)
                                                      : fail("opening", name);
    if (from_below >= 0)
        close(from_below);
    if (to_below >= 0)
        close(to_below);
    return is_copied;
}

static bool copy_level(int from_fd, int to_fd, int depth)
{
    if (depth > DEPTH)
        return fail_because("copying", "the tree", "it is too deep", 0);
    DIR *listing = list(from_fd, ".");
    if (listing == NULL)
        return fail("listing", "the tree");
    bool is_copied = true;
    const char *name;
    while (is_copied && (name = next_name(listing)) != NULL)
        if (!is_mark(name, depth))
            is_copied = copy_entry(from_fd, to_fd, name, depth);
    if (is_copied && errno != 0)
        is_copied = fail("listing", "the tree");
    closedir(listing);
    return is_copied;
}

bool copy_tree(int from_fd, int to_fd)
{
    return copy_level(from_fd, to_fd, 0);
}

/* ---- Wholeness ---- */

struct tally {
    uint64_t files, bytes;
};

static bool count(int fd, int depth, struct tally *tally)
{
    DIR *listing = depth <= DEPTH ? list(fd, ".") : NULL;
    if (listing == NULL)
        return fail("listing", "the tree");
    bool is_counted = true;
    const char *name;
    while (is_counted && (name = next_name(listing)) != NULL) {
        struct stat entry;
        if (is_mark(name, depth))
            continue;
        if (fstatat(fd, name, &entry, AT_SYMLINK_NOFOLLOW) != 0) {
            is_counted = fail("reading", name);
        } else if (S_ISDIR(entry.st_mode)) {
            int below = open_directory(fd, name);
            is_counted = below >= 0 ? count(below, depth + 1, tally) : fail("opening", name);
            if (below >= 0)
                close(below);
        } else {
            tally->bytes += (uint64_t)entry.st_size;
        }
        tally->files++;
    }
    if (is_counted && errno != 0)
        is_counted = fail("listing", "the tree");
    closedir(listing);
    return is_counted;
}

enum { MARK_SIZE = 2 * NUMBER_SIZE };

/* What the mark says of a tree that is as it is now: "FILES BYTES\n". */
static bool mark_of(int tree_fd, char mark[MARK_SIZE])
{
    struct tally tally = {0};
    if (!count(tree_fd, 0, &tally))
        return false;
    char files[NUMBER_SIZE], bytes[NUMBER_SIZE];
    char *end = stpcpy(mark, as_text(tally.files, 10, files));
    end = stpcpy(stpcpy(end, " "), as_text(tally.bytes, 10, bytes));
    stpcpy(end, "\n");
    return true;
}

bool mark_whole(int tree_fd)
{
    char mark[MARK_SIZE];
    if (!mark_of(tree_fd, mark))
        return false;
    int fd = create_file(tree_fd, MARK, false);
    if (fd < 0)
        return false;
    bool is_written = write_all(fd, mark, strlen(mark)) || fail("writing", MARK);
    return close_written(fd, MARK) && is_written;
}

bool is_marked(int tree_fd)
{
    return faccessat(tree_fd, MARK, F_OK, 0) == 0;
}

bool is_whole(int tree_fd)
{
    char mark[MARK_SIZE], stored[MARK_SIZE];
    int fd = openat(tree_fd, MARK, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t got = read(fd, stored, sizeof stored - 1);
    close(fd);
    if (!mark_of(tree_fd, mark)) {
        errno = failure.error;
        return false;
    }
    errno = 0;
    stored[got > 0 ? got : 0] = '\0';
    return strcmp(mark, stored) == 0;
}

bool is_same_file(int first_parent_fd, const char *first, int second_parent_fd, const char *second)
{
    static const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    int first_fd = openat(first_parent_fd, first, flags);
    int second_fd = openat(second_parent_fd, second, flags);
    struct stat first_stat, second_stat;
    bool is_same = first_fd >= 0 && second_fd >= 0 && fstat(first_fd, &first_stat) == 0 &&
                   fstat(second_fd, &second_stat) == 0 && S_ISREG(first_stat.st_mode) &&
                   first_stat.st_mode == second_stat.st_mode &&
                   first_stat.st_size == second_stat.st_size;
    while (is_same) {
        char first_data[4096], second_data[sizeof first_data];
        ssize_t got = read(first_fd, first_data, sizeof first_data);
        is_same = got >= 0 && read(second_fd, second_data, sizeof second_data) == got &&
                  memcmp(first_data, second_data, (size_t)got) == 0;
        if (got <= 0)
            break;
    }
    if (first_fd >= 0)
        close(first_fd);
    if (second_fd >= 0)
        close(second_fd);
    return is_same;
}

/* ---- Removing ---- */

static void remove_level(int parent_fd, const char *name, int depth)
{
    if (unlinkat(parent_fd, name, 0) == 0 || depth > DEPTH)
        return;
    DIR *listing = list(parent_fd, name);
    if (listing == NULL)
        return;
    const char *below;
    while ((below = next_name(listing)) != NULL)
        remove_level(dirfd(listing), below, depth + 1);
    closedir(listing);
    unlinkat(parent_fd, name, AT_REMOVEDIR);
}

void remove_tree(int parent_fd, const char *name)
{
    remove_level(parent_fd, name, 0);
}
