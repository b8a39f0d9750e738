/* The tree that is appended to the installer's own file.
 *
 *   ELF | one zstd frame with a checksum, of a ustar archive | trailer
 *
 * The archive holds regular files and directories, a directory before what is in it. */
#ifndef PTYSHIPPER_ARCHIVE_H
#define PTYSHIPPER_ARCHIVE_H

#include <stdbool.h>
#include <sys/types.h>

struct archive {
    int fd;
    off_t begin, size;
};

/* Finds the archive in a file. Returns false where it has none, or where `failure` says so has one that
 * is damaged. */
bool find_archive(int fd, struct archive *archive);

/* Unpacks it into an empty directory. What it says is believed only as far as it stays in there. */
bool unpack(const struct archive *archive, int to_fd);

#endif
