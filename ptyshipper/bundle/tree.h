/* Trees of regular files and directories: made, copied, found whole, removed. */
#ifndef PTYSHIPPER_TREE_H
#define PTYSHIPPER_TREE_H

#include <stdbool.h>

/* What went wrong. `error` is the errno, or 0 where what is wrong is the tree that we bring. */
struct failure {
    const char *doing;
    char name[512];
    const char *reason;
    int error;
};
extern struct failure failure;

/* Both fill in `failure` and return false. The first takes the reason from errno. */
bool fail(const char *doing, const char *name);
bool fail_because(const char *doing, const char *name, const char *reason, int error);

enum { DEPTH = 32 }; /* how many directories may lie in one another */

/* A new directory that everybody may read. */
bool make_directory(int parent_fd, const char *name);

/* A new file that everybody may read, and execute if so; -1 where that fails. It must not be there. */
int create_file(int parent_fd, const char *name, bool is_executable);

/* Closes a file that was written: some file systems only now say that it did not fit. */
bool close_written(int fd, const char *name);

/* Copies what is left of a file. */
bool copy_contents(int from_fd, int to_fd);

/* Copies what is in one directory into another, all but its mark. */
bool copy_tree(int from_fd, int to_fd);

/* Marks a tree as whole: how many files and bytes there are. A node that loses power may keep the
 * names of files and lose what was in them, so a name alone proves nothing. Where it is not whole, errno
 * is 0, or why that can't be told. */
bool mark_whole(int tree_fd);
bool is_marked(int tree_fd);
bool is_whole(int tree_fd);

/* Whether both are there and have the same contents. */
bool is_same_file(int first_parent_fd, const char *first, int second_parent_fd, const char *second);

/* Removes a file or a directory with all that is in it, as far as it can be. */
void remove_tree(int parent_fd, const char *name);

#endif
