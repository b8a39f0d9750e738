/* app: the wrapper's Python, with every module that it can load inside.
 *
 * An interpreter that starts looks for its library, its settings and its site, and reads each module
 * from a file. This one is told all of that: the modules are compiled code in this program's own
 * read-only memory (frozen.py puts it there), the few that are shared libraries are named in it too, and
 * nothing is searched for. Half of the time until the user's program ran went into the search.
 *
 * log-shipper (launcher.c) is what starts this, by the loader beside it and with a path in argv[0].
 */
#include <Python.h>
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "modules.h" /* made by frozen.py: MODULES_FILE, MODULES and EXTENSIONS */

/* ---- Modules of Python code ---- */

/* Their code as marshal has it, end to end. */
__asm__(".pushsection .rodata\n"
        "code_begin: .incbin \"" MODULES_FILE "\"\n"
        "code_end: .byte 0\n"
        ".popsection\n");
#define HIDDEN __attribute__((visibility("hidden")))
extern const unsigned char code_begin[] HIDDEN, code_end[] HIDDEN;

#define MODULE(NAME, OFFSET, SIZE, IS_PACKAGE) \
    {.name = (NAME), .code = code_begin + (OFFSET), .size = (SIZE), .is_package = (IS_PACKAGE)},
static const struct _frozen modules[] = {MODULES(MODULE){.name = NULL}};

/* Gives back the memory that the code was read into from the file: each module is loaded once, and the
 * kernel maps 64 KB for every page that is looked at. What is needed again is read again. */
static PyObject *release(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)code_begin + page - 1) / page * page;
    uintptr_t end = (uintptr_t)code_end / page * page;
    if (begin < end)
        madvise((void *)begin, end - begin, MADV_DONTNEED);
    Py_RETURN_NONE;
}

static PyObject *make_frozen_code(void)
{
    static PyMethodDef functions[] = {
        {"release", release, METH_NOARGS, NULL},
        {NULL, NULL, 0, NULL},
    };
    static struct PyModuleDef module = {
        PyModuleDef_HEAD_INIT, .m_name = "frozen_code", .m_methods = functions,
    };
    return PyModule_Create(&module);
}

/* ---- Modules that are shared libraries ----
 *
 * Python is told that they are built in, so it asks here for each by name, and never in directories. */

static const char *tree = "."; /* the directory that this program and its libraries are in */

/* There are Pythons in which every module is built in, and this is never called. */
__attribute__((unused)) static PyObject *load(const char *name, const char *entry)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/%s.so", tree, name);
    if (length < 0 || (size_t)length >= sizeof path)
        return PyErr_Format(PyExc_ImportError, "%s: its path is too long", name);
    void *library = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
    void *symbol = library != NULL ? dlsym(library, entry) : NULL;
    if (symbol == NULL)
        return PyErr_Format(PyExc_ImportError, "%s: %s", name, dlerror());
    PyObject *(*initialise)(void);
    memcpy(&initialise, &symbol, sizeof initialise); /* C has no cast from data to code */
    return initialise();
}

#define LOADER(IDENTIFIER, NAME, ENTRY)    \
    static PyObject *load_##IDENTIFIER(void) \
    {                                      \
        return load(NAME, ENTRY);          \
    }
EXTENSIONS(LOADER)

#define EXTENSION(IDENTIFIER, NAME, ENTRY) {.name = (NAME), .initfunc = load_##IDENTIFIER},
static struct _inittab extensions[] = {
    EXTENSIONS(EXTENSION){.name = "frozen_code", .initfunc = make_frozen_code},
    {.name = NULL},
};

/* ---- Python ---- */

/* The name that ps shows: the one that the launcher was called by, the fifth of what it hands over
 * (ptyshipper/launch.py). Else it would be the loader's. */
static void take_name(const char *launch)
{
    for (int field = 1; launch != NULL && field < 5; field++) {
        launch = strchr(launch, ' ');
        launch = launch != NULL ? launch + 1 : NULL;
    }
    if (launch == NULL)
        return;
    char name[16] = {0}; /* the kernel's TASK_COMM_LEN */
    size_t length = strcspn(launch, " ");
    memcpy(name, launch, length < sizeof name - 1 ? length : sizeof name - 1);
    prctl(PR_SET_NAME, name);
}

/* All the places that Python would work out for itself. */
static PyStatus set_paths(PyConfig *config, const char *app)
{
    wchar_t **const folders[] = {
        &config->home,        &config->prefix,           &config->exec_prefix,
        &config->base_prefix, &config->base_exec_prefix,
    };
    config->module_search_paths_set = 1; /* to none */
    PyStatus status = PyConfig_SetBytesString(config, &config->executable, app);
    for (size_t i = 0; i < Py_ARRAY_LENGTH(folders) && !PyStatus_Exception(status); i++)
        status = PyConfig_SetBytesString(config, folders[i], tree);
    return status;
}

/* An interpreter that neither reads nor searches anything, and is otherwise as PyInstaller's was. */
static PyStatus start_python(int argc, char *argv[])
{
    PyPreConfig before;
    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1;
    PyStatus status = Py_PreInitialize(&before);
    if (PyStatus_Exception(status))
        return status;

    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    config.site_import = 0;
    config.write_bytecode = 0;
    config.optimization_level = 2;
    config.pathconfig_warnings = 0;
    config.install_signal_handlers = 1; /* a SIGPIPE that is not ignored would be the program's */
    config.use_frozen_modules = 1;
    status = PyConfig_SetBytesArgv(&config, argc, argv);
    if (!PyStatus_Exception(status))
        status = set_paths(&config, argv[0]);
    if (!PyStatus_Exception(status))
        status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    return status;
}

/* The folder of a path, in memory of its own; NULL where there is none left. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? strndup(path, (size_t)(slash - path)) : strdup(".");
}

int main(int argc, char *argv[])
{
    take_name(getenv("PTYSHIPPER_LAUNCH"));
    if (argc < 1 || (tree = folder_of(argv[0])) == NULL)
        return EXIT_FAILURE;
    PyImport_FrozenModules = modules;
    if (PyImport_ExtendInittab(extensions) < 0)
        return EXIT_FAILURE;
    PyStatus status = start_python(argc, argv);
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);
    if (PyImport_ImportFrozenModule("__main__") < 0)
        PyErr_Print(); /* and ends where it is a SystemExit */
    Py_FinalizeEx();
    return EXIT_FAILURE; /* what runs ends by itself (ptyshipper/cli.py) */
}
