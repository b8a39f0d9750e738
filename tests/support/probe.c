/* A program that tests wrap: it does what its words say, one after the other, and ends with 0.
 *
 *   report FILE    write all it can find out about itself, as JSON ("-": to stdout)
 *   say TEXT       write a line to stdout          err TEXT       ... to stderr
 *   buffer TEXT    write a line to stdout by way of libc, which keeps it until it has to go
 *   bytes          write every byte value to stdout, and three line ends
 *   isatty         write "isatty" and for each of 0, 1, 2 whether it is a terminal
 *   nap MS         sleep                           read           write the next line of stdin
 *   signals        write "ready", then "signal N" for each signal that arrives; never ends
 *   sizes          write "size ROWS COLS", now and for each SIGWINCH; never ends
 *   orphans N      leave N processes behind that end by themselves, some before, some after
 *   zombies MS     wait until there are no zombies in /proc, MS at most, and write how many
 *   eat MIB        take that much memory, and touch it
 *   forks N        fork children that wait, N at most: write how many, and the error that ended it
 *   exec FILE ARG  become another program          exit N, die N  end with a code, or by a signal
 *
 * It needs no file of the system but /proc, so that it runs in an empty root, linked statically. What
 * it writes goes out at once. Signals are asked of the kernel itself: libc keeps some to itself.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define KERNEL_SIGSET_BYTES 8

static void fail(const char *what)
{
    dprintf(2, "probe: %s: %s\n", what, strerror(errno));
    _exit(99);
}

static void write_all(int fd, const void *data, size_t size)
{
    const char *at = data;
    while (size > 0) {
        ssize_t count = write(fd, at, size);
        if (count < 0 && errno == EBADF)
            return; /* closed, as a test may have it */
        if (count < 0 && errno != EINTR)
            _exit(98);
        if (count > 0) {
            at += count;
            size -= (size_t)count;
        }
    }
}

/* One write(2) a line: whoever reads sees whole ones. */
__attribute__((format(printf, 2, 3))) static void print(int fd, const char *format, ...)
{
    char line[PIPE_BUF];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    write_all(fd, line, size < (int)sizeof line ? (size_t)size : sizeof line - 1);
}

static void nap_ms(long ms)
{
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
}

static char *read_file(const char *path, size_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    char *data = NULL;
    *size = 0;
    for (;;) {
        data = realloc(data, *size + 65537);
        if (!data)
            fail("realloc");
        ssize_t count = read(fd, data + *size, 65536);
        if (count <= 0)
            break;
        *size += (size_t)count;
    }
    data[*size] = 0;
    close(fd);
    return data;
}

/* --- report ----------------------------------------------------------------------------------- */

/* A JSON string in which each byte is the character of that number. */
static void put_string(FILE *out, const char *text, size_t size)
{
    fputc('"', out);
    for (const char *at = text; at < text + size; at++) {
        unsigned char c = (unsigned char)*at;
        if (c < 0x20 || c > 0x7e || c == '"' || c == '\\')
            fprintf(out, "\\u%04x", c);
        else
            fputc(c, out);
    }
    fputc('"', out);
}

static void put_hex(FILE *out, const char *data, size_t size)
{
    fputc('"', out);
    for (size_t i = 0; i < size; i++)
        fprintf(out, "%02x", (unsigned char)data[i]);
    fputc('"', out);
}

/* A file of strings that end in NUL, as a JSON list. */
static void put_list(FILE *out, const char *path, void (*put)(FILE *, const char *, size_t))
{
    size_t size;
    char *data = read_file(path, &size);
    if (!data)
        fail(path);
    fputc('[', out);
    for (char *at = data; at < data + size; at += strlen(at) + 1) {
        if (at > data)
            fputc(',', out);
        put(out, at, strlen(at));
    }
    fputc(']', out);
    free(data);
}

static void put_status(FILE *out)
{
    static const char *const wanted[] = {
        "SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd", "Groups", "Umask", "Uid", "Gid",
        "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "CoreDumping",
        "Threads",
    };
    size_t size;
    const char *separator = "{";
    char *text = read_file("/proc/self/status", &size);
    if (!text)
        fail("/proc/self/status");
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char *value = strstr(line, ":\t");
        if (!value)
            continue;
        *value = 0;
        value += 2;
        for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
            if (strcmp(line, wanted[i]) == 0) {
                size_t length = strlen(value);
                while (length > 0 && strchr(" \t", value[length - 1]))
                    length--;
                fprintf(out, "%s\"%s\":", separator, line);
                put_string(out, value, length);
                separator = ",";
            }
    }
    fputc('}', out);
    free(text);
}

static const char *kind_of(int fd)
{
    struct stat found;
    if (fstat(fd, &found) < 0)
        fail("fstat");
    if (isatty(fd))
        return "terminal";
    switch (found.st_mode & S_IFMT) {
    case S_IFIFO: return "pipe";
    case S_IFREG: return "file";
    case S_IFDIR: return "directory";
    case S_IFCHR: return "device";
    case S_IFSOCK: return "socket";
    default: return "other";
    }
}

static void put_fds(FILE *out)
{
    const char *separator = "{";
    for (int fd = 0; fd < 1024; fd++) {
        int flags = fcntl(fd, F_GETFL);
        if (flags < 0)
            continue;
        fprintf(out, "%s\"%d\":{\"kind\":\"%s\",\"nonblocking\":%s", separator, fd, kind_of(fd),
                flags & O_NONBLOCK ? "true" : "false");
        if (fd < 3 && !isatty(fd))
            fprintf(out, ",\"access\":%d", flags & O_ACCMODE);
        fputc('}', out);
        separator = ",";
    }
    fputs(*separator == '{' ? "{}" : "}", out);
}

/* The controlling terminal's device: field 7 of /proc/self/stat (proc(5)). */
static dev_t dev_tty(void)
{
    size_t size;
    int number = 0;
    char *text = read_file("/proc/self/stat", &size);
    if (!text || sscanf(strrchr(text, ')') + 1, " %*c %*d %*d %*d %d", &number) != 1)
        fail("/proc/self/stat");
    free(text);
    unsigned bits = (unsigned)number;
    return makedev(bits >> 8 & 0xfff, (bits & 0xff) | (bits >> 12 & 0xfff00));
}

static void put_terminal(FILE *out, int fd)
{
    struct termios modes = {0};
    struct winsize size;
    struct stat found;
    if (tcgetattr(fd, &modes) < 0 || ioctl(fd, TIOCGWINSZ, &size) < 0 || fstat(fd, &found) < 0)
        fail("terminal");
    fprintf(out, "{\"termios\":[%u,%u,%u,%u,%u,%u,", modes.c_iflag, modes.c_oflag, modes.c_cflag,
            modes.c_lflag, cfgetispeed(&modes), cfgetospeed(&modes));
    put_hex(out, (char *)modes.c_cc, sizeof modes.c_cc);
    fprintf(out, "],\"winsize\":[%d,%d,%d,%d],\"in_foreground\":", size.ws_row, size.ws_col,
            size.ws_xpixel, size.ws_ypixel);
    pid_t foreground = tcgetpgrp(fd);
    if (foreground < 0)
        fprintf(out, "%d", errno);
    else
        fputs(foreground == getpgrp() ? "true" : "false", out);
    fprintf(out, ",\"same_as_dev_tty\":%s}", found.st_rdev == dev_tty() ? "true" : "false");
}

static void put_terminals(FILE *out)
{
    const char *separator = "{";
    for (int fd = 0; fd < 3; fd++)
        if (isatty(fd)) {
            fprintf(out, "%s\"%d\":", separator, fd);
            put_terminal(out, fd);
            separator = ",";
        }
    fputs(*separator == '{' ? "{}" : "}", out);
}

static void put_limits(FILE *out)
{
    fputc('[', out);
    for (int resource = 0; resource < RLIM_NLIMITS; resource++) {
        struct rlimit limit;
        if (getrlimit(resource, &limit) < 0)
            fail("getrlimit");
        fprintf(out, "%s[%lld,%lld]", resource ? "," : "",
                limit.rlim_cur == RLIM_INFINITY ? -1LL : (long long)limit.rlim_cur,
                limit.rlim_max == RLIM_INFINITY ? -1LL : (long long)limit.rlim_max);
    }
    fputc(']', out);
}

static void put_affinity(FILE *out)
{
    cpu_set_t cpus;
    const char *separator = "";
    if (sched_getaffinity(0, sizeof cpus, &cpus) < 0)
        fail("sched_getaffinity");
    fputc('[', out);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &cpus)) {
            fprintf(out, "%s%d", separator, cpu);
            separator = ",";
        }
    fputc(']', out);
}

static void put_link(FILE *out, const char *path)
{
    char target[PATH_MAX];
    ssize_t size = readlink(path, target, sizeof target);
    if (size < 0)
        fail(path);
    put_string(out, target, (size_t)size);
}

/* Put together in memory: an open file would be one of the descriptors that it tells of. */
static void report(const char *path)
{
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    struct itimerval alarm;
    if (!out || getitimer(ITIMER_REAL, &alarm) < 0)
        fail("report");
    fputs("{\"status\":", out);
    put_status(out);
    fputs(",\"environ\":", out);
    put_list(out, "/proc/self/environ", put_hex);
    fputs(",\"argv\":", out);
    put_list(out, "/proc/self/cmdline", put_string);
    fputs(",\"cwd\":", out);
    put_link(out, "/proc/self/cwd");
    fputs(",\"exe\":", out);
    put_link(out, "/proc/self/exe");
    fputs(",\"fds\":", out);
    put_fds(out);
    fputs(",\"terminals\":", out);
    put_terminals(out);
    fputs(",\"limits\":", out);
    put_limits(out);
    fputs(",\"affinity\":", out);
    put_affinity(out);
    fprintf(out, ",\"leads_session\":%s,\"leads_group\":%s,\"nice\":%d,\"scheduler\":%ld",
            getsid(0) == getpid() ? "true" : "false", getpgrp() == getpid() ? "true" : "false",
            getpriority(PRIO_PROCESS, 0), syscall(SYS_sched_getscheduler, 0));
    fprintf(out, ",\"pending_alarm\":%s",
            alarm.it_value.tv_sec || alarm.it_value.tv_usec ? "true" : "false");
    size_t length;
    char *adjustment = read_file("/proc/self/oom_score_adj", &length);
    fprintf(out, ",\"oom_score_adj\":%d}\n", adjustment ? atoi(adjustment) : -9999);
    fclose(out);
    bool to_file = strcmp(path, "-") != 0;
    int fd = to_file ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : 1;
    if (fd < 0)
        fail(path);
    write_all(fd, text, size);
    if (to_file)
        close(fd);
}

/* --- the other words -------------------------------------------------------------------------- */

static void say_bytes(void)
{
    char all[256 + 3];
    for (int i = 0; i < 256; i++)
        all[i] = (char)i;
    memcpy(all + 256, "\r\n\n", 3);
    write_all(1, all, sizeof all);
}

static void read_line(void)
{
    char line[4097];
    ssize_t size = read(0, line, sizeof line - 1);
    print(1, "read %.*s%s", size > 0 ? (int)size : 0, line,
          size > 0 && line[size - 1] == '\n' ? "" : "\n");
}

static void say_signals(void)
{
    unsigned long long all = ~0ULL;
    if (syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, KERNEL_SIGSET_BYTES) < 0)
        fail("rt_sigprocmask");
    print(1, "ready\n");
    for (;;) {
        long number = syscall(SYS_rt_sigtimedwait, &all, NULL, NULL, KERNEL_SIGSET_BYTES);
        if (number > 0)
            print(1, "signal %ld\n", number);
    }
}

static void say_sizes(void)
{
    sigset_t resized;
    sigemptyset(&resized);
    sigaddset(&resized, SIGWINCH);
    sigprocmask(SIG_BLOCK, &resized, NULL);
    for (;;) {
        struct winsize size;
        if (ioctl(0, TIOCGWINSZ, &size) < 0)
            fail("TIOCGWINSZ");
        print(1, "size %d %d\n", size.ws_row, size.ws_col);
        sigwaitinfo(&resized, NULL);
    }
}

/* Each is forked by a child that ends, before it or after it. */
static void leave_orphans(int count)
{
    for (int i = 0; i < count; i++) {
        pid_t child = fork();
        if (child < 0)
            fail("fork");
        if (child == 0) {
            if (fork() == 0)
                nap_ms(i % 4 * 20);
            else
                nap_ms(i % 3 * 20);
            _exit(i);
        }
    }
    while (count-- > 0)
        wait(NULL);
}

static int count_zombies(void)
{
    int count = 0;
    DIR *proc = opendir("/proc");
    if (!proc)
        fail("/proc");
    for (struct dirent *entry; (entry = readdir(proc));) {
        char path[300];
        size_t size;
        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        char *text = atoi(entry->d_name) ? read_file(path, &size) : NULL;
        char *name_end = text ? strrchr(text, ')') : NULL;
        count += name_end && name_end[2] == 'Z';
        free(text);
    }
    closedir(proc);
    return count;
}

static void say_zombies(long left_ms)
{
    int zombies;
    for (; (zombies = count_zombies()) > 0 && left_ms > 0; left_ms -= 10)
        nap_ms(10);
    print(1, "zombies %d\n", zombies);
}

static void eat(size_t mib)
{
    size_t size = mib << 20;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        fail("mmap");
    for (size_t at = 0; at < size; at += 4096)
        memory[at] = 1;
}

static void say_forks(int most)
{
    int count = 0, error = 0;
    int ends[2];
    if (pipe(ends) < 0)
        fail("pipe");
    for (; count < most; count++) {
        pid_t child = fork();
        if (child < 0) {
            error = errno;
            break;
        }
        if (child == 0) {
            char none;
            close(ends[1]);
            (void)!read(ends[0], &none, 1); /* until the parent closes the other end */
            _exit(0);
        }
    }
    close(ends[1]);
    while (wait(NULL) > 0)
        ;
    print(1, "forked %d, then %s\n", count, error ? strerror(error) : "enough");
}

static void die(int number)
{
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    syscall(SYS_kill, getpid(), number);
    for (;;)
        pause();
}

int main(int argc, char **argv)
{
    (void)argc;
    for (char **word = argv + 1; *word; word++) {
        char *name = *word;
#define IS(text) (strcmp(name, text) == 0)
#define ARGUMENT (word[1] ? *++word : "")
        if (IS("report"))
            report(ARGUMENT);
        else if (IS("say"))
            print(1, "%s\n", ARGUMENT);
        else if (IS("err"))
            print(2, "%s\n", ARGUMENT);
        else if (IS("buffer"))
            puts(ARGUMENT);
        else if (IS("bytes"))
            say_bytes();
        else if (IS("isatty"))
            print(1, "isatty %d %d %d\n", isatty(0), isatty(1), isatty(2));
        else if (IS("nap"))
            nap_ms(atol(ARGUMENT));
        else if (IS("read"))
            read_line();
        else if (IS("signals"))
            say_signals();
        else if (IS("sizes"))
            say_sizes();
        else if (IS("orphans"))
            leave_orphans(atoi(ARGUMENT));
        else if (IS("zombies"))
            say_zombies(atol(ARGUMENT));
        else if (IS("eat"))
            eat((size_t)atol(ARGUMENT));
        else if (IS("forks"))
            say_forks(atoi(ARGUMENT));
        else if (IS("exec")) {
            execv(word[1], word + 1);
            fail(word[1]);
        } else if (IS("exit"))
            _exit(atoi(ARGUMENT));
        else if (IS("die"))
            die(atoi(ARGUMENT));
        else {
            dprintf(2, "probe: no such word: %s\n", name);
            return 99;
        }
    }
    return 0;
}
