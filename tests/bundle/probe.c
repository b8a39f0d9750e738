/* Reports what it was started with, as JSON whose strings are hex, into a file beside it: its path
 * and ".report". Stands for the loader, for the wrapper and for a user's program; exits with 7.
 *
 * With "hold" as its last argument it stays until it is killed. With "quiet" it reports nothing.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static FILE *report;

static void put_hex(const char *data, size_t size)
{
    putc('"', report);
    for (size_t i = 0; i < size; i++)
        fprintf(report, "%02x", (unsigned char)data[i]);
    putc('"', report);
}

static void put_list(const char *name, char **list)
{
    fprintf(report, "\"%s\": [", name);
    for (char **at = list; *at != NULL; at++) {
        if (at != list)
            fputs(", ", report);
        put_hex(*at, strlen(*at));
    }
    fputs("],\n", report);
}

/* Every open descriptor but the report's, and what it leads to. */
static void put_descriptors(void)
{
    fputs("\"fds\": {", report);
    const char *separator = "";
    for (int fd = 0; fd < 1024; fd++) {
        if (fcntl(fd, F_GETFD) < 0 || fd == fileno(report))
            continue;
        char path[64], target[4096];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(path, target, sizeof target);
        fprintf(report, "%s\"%d\": ", separator, fd);
        put_hex(target, length > 0 ? (size_t)length : 0);
        separator = ", ";
    }
    fputs("},\n", report);
}

/* What the wrapper would read: the environment that was handed over, once, from where it is. */
static void put_handed_over(const char *launch)
{
    char data[65536];
    int fd = atoi(launch);
    ssize_t got;
    fputs("\"handed_over\": \"", report);
    while ((got = read(fd, data, sizeof data)) > 0)
        for (ssize_t i = 0; i < got; i++)
            fprintf(report, "%02x", (unsigned char)data[i]);
    fputs("\",\n", report);
}

/* The lines of /proc/self/status that tell signals, where there is a /proc. */
static void put_signals(void)
{
    char line[4096];
    FILE *status = fopen("/proc/self/status", "re");
    while (status != NULL && fgets(line, sizeof line, status) != NULL) {
        unsigned long long mask;
        if (sscanf(line, "SigIgn: %llx", &mask) == 1)
            fprintf(report, "\"ignored\": %llu,\n", mask);
        if (sscanf(line, "SigBlk: %llx", &mask) == 1)
            fprintf(report, "\"blocked\": %llu,\n", mask);
        if (sscanf(line, "SigPnd: %llx", &mask) == 1)
            fprintf(report, "\"pending\": %llu,\n", mask);
    }
    if (status != NULL)
        fclose(status);
}

/* Lifts a limit, so that the report can be written; what it was. */
static rlim_t lift(int resource)
{
    struct rlimit limit = {0};
    getrlimit(resource, &limit);
    rlim_t was = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(resource, &limit);
    return was;
}

int main(int argc, char **argv)
{
    const char *last = argc > 0 ? argv[argc - 1] : "";
    if (strcmp(last, "quiet") == 0)
        return 7;
    char cwd[4096], path[8192];
    rlim_t file_size = lift(RLIMIT_FSIZE), nofile = lift(RLIMIT_NOFILE);
    mode_t mask = umask(0);

    /* A name of its own until it is complete: who finds the report finds all of it. */
    const char *self = (const char *)getauxval(AT_EXECFN);
    snprintf(path, sizeof path, "%s.report.new", self);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd >= 0 && fd < 3) { /* a report on a closed 0, 1 or 2 would hide that it was closed */
        int high = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        close(fd);
        fd = high;
    }
    report = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (report == NULL)
        return 99;
    fputs("{\n", report);
    put_list("argv", argv);
    put_list("environ", environ);
    put_descriptors();
    put_signals();
    const char *launch = getenv("PTYSHIPPER_LAUNCH");
    if (launch != NULL)
        put_handed_over(launch);
    if (launch != NULL && argc > 3) {
        char app[8192];
        snprintf(app, sizeof app, "%s/app", argv[3]);
        fprintf(report, "\"finds_app\": %s,\n", access(app, X_OK) == 0 ? "true" : "false");
    }
    fprintf(report, "\"umask\": %u,\n\"file_size\": %llu,\n\"nofile\": %llu,\n\"uid\": %u,\n",
            (unsigned)mask, (unsigned long long)file_size, (unsigned long long)nofile,
            (unsigned)getuid());
    fputs("\"cwd\": ", report);
    put_hex(cwd, getcwd(cwd, sizeof cwd) != NULL ? strlen(cwd) : 0);
    fputs("\n}\n", report);
    fclose(report);
    char done[8192];
    snprintf(done, sizeof done, "%s.report", self);
    rename(path, done);
    if (strcmp(last, "hold") == 0)
        for (;;)
            pause();
    return 7;
}
