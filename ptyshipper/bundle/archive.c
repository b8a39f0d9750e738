#define _GNU_SOURCE
#include "archive.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "common.h"
#include "tree.h"

/* The last bytes of the file: the frame's length, the least significant byte first, and a name. */
enum { LENGTH_SIZE = 8, NAME_SIZE = 16, TRAILER_SIZE = LENGTH_SIZE + NAME_SIZE };
static const char TRAILER_NAME[NAME_SIZE + 1] = "ptyshipper tree\n";

enum {
    WINDOW_LOG = 23, /* the decoder takes 8 MiB at most */
    BLOCK = 512,
    MOST_ENTRIES = 5000,
};
static const uint64_t MOST_BYTES = UINT64_C(1) << 30;

static bool damaged(const char *reason)
{
    return fail_because("unpacking", "the archive in this file", reason, 0);
}

bool find_archive(int fd, struct archive *archive)
{
    unsigned char trailer[TRAILER_SIZE];
    failure.doing = NULL;
    off_t end = lseek(fd, 0, SEEK_END);
    if (end < TRAILER_SIZE ||
        pread(fd, trailer, sizeof trailer, end - TRAILER_SIZE) != (ssize_t)sizeof trailer ||
        memcmp(trailer + LENGTH_SIZE, TRAILER_NAME, NAME_SIZE) != 0)
        return false;
    uint64_t size = 0;
    for (int i = LENGTH_SIZE - 1; i >= 0; i--)
        size = size << 8 | trailer[i];
    if (size > (uint64_t)(end - TRAILER_SIZE))
        return damaged("it is cut short");
    *archive = (struct archive){
        .fd = fd,
        .begin = end - TRAILER_SIZE - (off_t)size,
        .size = (off_t)size,
    };
    return true;
}

/* ---- The zstd frame, as a stream of bytes ---- */

struct stream {
    int fd;
    off_t at, end; /* of what was not read of the file */
    ZSTD_DCtx *context;
    ZSTD_inBuffer in;
    bool is_over; /* the frame has ended, and its checksum is right */
    size_t begin, filled; /* what is to be taken of `out` */
    char in_data[65536], out[131072];
};

/* Makes bytes available, or sets is_over. */
static bool refill(struct stream *stream)
{
    while (stream->begin == stream->filled && !stream->is_over) {
        if (stream->in.pos == stream->in.size) {
            off_t left = stream->end - stream->at;
            size_t wanted = sizeof stream->in_data;
            if (left < (off_t)wanted)
                wanted = (size_t)left;
            ssize_t got = pread(stream->fd, stream->in_data, wanted, stream->at);
            if (got < 0)
                return fail("reading", "the archive in this file");
            if (got == 0)
                return damaged("it is cut short");
            stream->at += got;
            stream->in = (ZSTD_inBuffer){.src = stream->in_data, .size = (size_t)got};
        }
        ZSTD_outBuffer out = {.dst = stream->out, .size = sizeof stream->out};
        size_t hint = ZSTD_decompressStream(stream->context, &out, &stream->in);
        if (ZSTD_isError(hint))
            return damaged(ZSTD_getErrorName(hint));
        stream->begin = 0;
        stream->filled = out.pos;
        stream->is_over = hint == 0;
    }
    return true;
}

/* Up to `most` bytes, at least one; NULL at the end or on failure. They are valid until the next call. */
static const char *take(struct stream *stream, size_t most, size_t *taken)
{
    if (!refill(stream))
        return NULL;
    if (stream->begin == stream->filled) {
        damaged("it ends early");
        return NULL;
    }
    const char *bytes = stream->out + stream->begin;
    size_t there = stream->filled - stream->begin;
    *taken = there < most ? there : most;
    stream->begin += *taken;
    return bytes;
}

static bool take_block(struct stream *stream, unsigned char block[BLOCK])
{
    for (size_t have = 0; have < BLOCK;) {
        size_t taken;
        const char *bytes = take(stream, BLOCK - have, &taken);
        if (bytes == NULL)
            return false;
        memcpy(block + have, bytes, taken);
        have += taken;
    }
    return true;
}

/* The frame must say that it has a checksum, or damage would go unnoticed (RFC 8878, 3.1.1.1.1). */
static bool has_checksum(const struct archive *archive)
{
    static const unsigned char magic[4] = {0x28, 0xb5, 0x2f, 0xfd};
    unsigned char start[sizeof magic + 1];
    return archive->size >= (off_t)sizeof start &&
           pread(archive->fd, start, sizeof start, archive->begin) == (ssize_t)sizeof start &&
           memcmp(start, magic, sizeof magic) == 0 && (start[sizeof magic] & 0x04) != 0;
}

/* ---- The ustar archive in it ---- */

struct header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100];
    char magic_and_version[8], user[32], group[32], device[2][8], prefix[155], padding[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "POSIX says so");

enum { ENTRY_NAME_SIZE = sizeof(((struct header *)0)->prefix) + 1 +
                         sizeof(((struct header *)0)->name) + 1 };

/* Digits of base 8 up to a NUL, a space or the field's end. */
static bool octal(const char *field, size_t size, uint64_t *value)
{
    size_t digits = 0;
    *value = 0;
    while (digits < size && field[digits] >= '0' && field[digits] <= '7')
        *value = *value << 3 | (uint64_t)(field[digits++] - '0');
    return digits > 0 && (digits == size || field[digits] == '\0' || field[digits] == ' ');
}

static bool is_checksum_right(const unsigned char block[BLOCK])
{
    const struct header *header = (const struct header *)(const void *)block;
    uint64_t stored, sum = 0;
    for (size_t i = 0; i < BLOCK; i++) {
        bool is_its_own = i >= offsetof(struct header, checksum) &&
                          i < offsetof(struct header, checksum) + sizeof header->checksum;
        sum += is_its_own ? (unsigned char)' ' : block[i];
    }
    return octal(header->checksum, sizeof header->checksum, &stored) && stored == sum;
}

/* Every part of a relative path must be a name: nothing leads out of the directory. */
static bool is_name_harmless(const char *name)
{
    for (int depth = 0; depth < DEPTH; depth++) {
        size_t length = strcspn(name, "/");
        if (length == 0 || (length == 1 && name[0] == '.') ||
            (length == 2 && name[0] == '.' && name[1] == '.'))
            return false;
        if (name[length] == '\0')
            return true;
        name += length + 1;
    }
    return false;
}

static void entry_name(const struct header *header, char name[ENTRY_NAME_SIZE])
{
    size_t prefix = strnlen(header->prefix, sizeof header->prefix);
    size_t length = strnlen(header->name, sizeof header->name);
    char *end = mempcpy(name, header->prefix, prefix);
    if (prefix > 0)
        *end++ = '/';
    end = mempcpy(end, header->name, length);
    *end = '\0';
}

static bool unpack_file(struct stream *stream, int to_fd, const char *name, bool is_executable,
                        uint64_t size)
{
    int fd = create_file(to_fd, name, is_executable);
    if (fd < 0)
        return false;
    bool is_written = true;
    for (uint64_t left = size; is_written && left > 0;) {
        size_t taken;
        const char *bytes = take(stream, left < SIZE_MAX ? (size_t)left : SIZE_MAX, &taken);
        is_written = bytes != NULL && (write_all(fd, bytes, taken) || fail("writing", name));
        left -= is_written ? taken : 0;
    }
    if (close(fd) != 0 && is_written)
        is_written = fail("writing", name);
    for (size_t left = (BLOCK - size % BLOCK) % BLOCK; is_written && left > 0;) {
        size_t taken;
        is_written = take(stream, left, &taken) != NULL;
        left -= is_written ? taken : 0;
    }
    return is_written;
}

static bool unpack_entry(struct stream *stream, int to_fd, const unsigned char block[BLOCK],
                         uint64_t *room)
{
    const struct header *header = (const struct header *)(const void *)block;
    static const char magic[] = "ustar\00000";
    uint64_t size, mode;
    if (!is_checksum_right(block) ||
        memcmp(header->magic_and_version, magic, sizeof header->magic_and_version) != 0 ||
        !octal(header->size, sizeof header->size, &size) ||
        !octal(header->mode, sizeof header->mode, &mode))
        return damaged("it is no ustar archive");
    char name[ENTRY_NAME_SIZE];
    entry_name(header, name);
    if (header->type == '5') {
        size_t length = strlen(name);
        if (length > 0 && name[length - 1] == '/')
            name[length - 1] = '\0';
    }
    if (!is_name_harmless(name))
        return fail_because("unpacking", name, "its name leads elsewhere", 0);
    if (size > *room)
        return fail_because("unpacking", name, "it is too large", 0);
    *room -= size;
    if (header->type == '5')
        return size == 0 ? make_directory(to_fd, name)
                         : fail_because("unpacking", name, "a directory has no size", 0);
    if (header->type != '0' && header->type != '\0')
        return fail_because("unpacking", name, "it is neither a file nor a directory", 0);
    return unpack_file(stream, to_fd, name, (mode & 0111) != 0, size);
}

static bool is_zero(const unsigned char block[BLOCK])
{
    for (size_t i = 0; i < BLOCK; i++)
        if (block[i] != 0)
            return false;
    return true;
}

/* After the two empty blocks that end an archive there is only padding, and the frame and the file
 * must end with it. */
static bool unpack_end(struct stream *stream)
{
    do {
        unsigned char block[BLOCK];
        if (!take_block(stream, block))
            return false;
        if (!is_zero(block))
            return damaged("something follows its end");
        if (!refill(stream))
            return false;
    } while (!stream->is_over || stream->begin < stream->filled);
    if (stream->in.pos < stream->in.size || stream->at < stream->end)
        return damaged("something follows it");
    return true;
}

static bool unpack_stream(struct stream *stream, int to_fd)
{
    uint64_t room = MOST_BYTES;
    for (int entries = 0; entries < MOST_ENTRIES; entries++) {
        unsigned char block[BLOCK];
        if (!take_block(stream, block))
            return false;
        if (is_zero(block))
            return unpack_end(stream);
        if (!unpack_entry(stream, to_fd, block, &room))
            return false;
    }
    return damaged("it has too many entries");
}

bool unpack(const struct archive *archive, int to_fd)
{
    if (!has_checksum(archive))
        return damaged("it is no zstd frame with a checksum");
    struct stream *stream = calloc(1, sizeof *stream);
    ZSTD_DCtx *context = ZSTD_createDCtx();
    bool is_unpacked = false;
    if (stream == NULL || context == NULL) {
        errno = ENOMEM;
        fail("unpacking", "the archive in this file");
    } else {
        ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, WINDOW_LOG);
        stream->fd = archive->fd;
        stream->at = archive->begin;
        stream->end = archive->begin + archive->size;
        stream->context = context;
        is_unpacked = unpack_stream(stream, to_fd);
    }
    ZSTD_freeDCtx(context);
    free(stream);
    return is_unpacked;
}
