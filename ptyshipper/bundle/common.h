/* What the launcher and the installer share. Neither allocates where failing could go unnoticed, and
 * both say what they have to say in one line on stderr. */
#ifndef PTYSHIPPER_COMMON_H
#define PTYSHIPPER_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Variables that begin so are the platform's; the program never sees one (ptyshipper/variables.py). */
#define PRIVATE_PREFIX "_PRIVATE_ANVILOPS"

/* Exit codes, as in ptyshipper/cli.py. */
enum { EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127 };

/* The strings, one after the other, in memory of their own; NULL where there is none left. */
char *join(const char *const parts[]);
#define JOIN(...) join((const char *const[]){__VA_ARGS__, (const char *)0})

/* An unsigned number as text, somewhere in the buffer. */
enum { NUMBER_SIZE = 3 * sizeof(uint64_t) };
const char *as_text(uint64_t number, unsigned base, char buffer[NUMBER_SIZE]);

/* Writes all of it; false and errno. */
bool write_all(int fd, const char *data, size_t size);

/* Writes "ptyshipper: ", the strings and a newline at once. Bytes that could break the line are
 * escaped. Says nothing rather than wait for a reader, be killed by SIGPIPE, or fail. */
void say(int fd, const char *const parts[]);
#define SAY(fd, ...) say((fd), (const char *const[]){__VA_ARGS__, (const char *)0})

/* What follows the last slash. */
const char *base_name(const char *path);

/* The directory that this program's own file is in, absolute where the kernel lets us know; NULL and
 * errno where it can't be told. */
char *own_directory(void);

/* The path by which this program was executed, never NULL. */
const char *executed_as(void);

/* Takes those of 0, 1 and 2 that are closed, so that nothing that is opened later lands there. They
 * are closed again by the exec. */
void hold_stdio(void);

/* Runs argv without a wrapper, as execvp(3) would find it, less the private variables. Never returns:
 * where that fails it says why and exits with 127 or 126, or with 2 where argv is empty. */
_Noreturn void run_bare(char *const argv[]);

#endif
