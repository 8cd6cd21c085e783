"""One door to each outside world: files, threads, clock, sockets, the GPU. A call of one outside its folder is a finding.
None to the process's locale."""

import re

from source_text import line_of

# Names that are calls of the system wherever they stand bare or as ::name.
_FILE_CALLS = """open openat creat fopen freopen fdopen tmpfile mkdir mkdirat rmdir unlink unlinkat rename renameat
    renameat2 symlink fsync fdatasync syncfs sync_file_range pread pwrite preadv pwritev lseek ftruncate opendir
    fdopendir readdir lstat fstatat chmod fchmod flock posix_fadvise fallocate posix_fallocate memfd_create
    mmap realpath mkdtemp mkstemp mkfifo statvfs statfs""".split()
_SOCKET_CALLS = """socket socketpair sendmsg recvmsg sendto recvfrom setsockopt getsockopt getsockname
    getpeername""".split()
# Ordinary words: calls of the system only as ::name.
_FILE_WORDS = "link stat access truncate remove".split()
_SOCKET_WORDS = "bind listen accept accept4 connect send recv shutdown".split()


class Door:
    def __init__(self, rule, home, calls=(), words=(), patterns=(), exceptions=None):
        self.rule = rule
        self.home = home  # path prefixes where everything is allowed
        self.exceptions = exceptions or {}  # path prefix -> (names allowed there, the reason)
        self._calls = re.compile(r"\b(%s)\s*\(" % "|".join([*calls, *words])) if calls or words else None
        self._words = set(words)
        self._patterns = [re.compile(pattern) for pattern in patterns]

    def findings(self, path, code):
        if path.startswith(self.home):
            return
        for position, name in self._uses(code):
            if not any(path.startswith(prefix) and name in names for prefix, (names, _) in self.exceptions.items()):
                where = f"outside {' and '.join(self.home)}" if self.home else "anywhere"
                yield line_of(code, position), self.rule, f"{name} {where}"

    def _uses(self, code):
        matches = list(self._calls.finditer(code)) if self._calls else []
        # A file that declares or defines a function of that name means its own when it calls it bare.
        own = {match.group(1) for match in matches if _is_own_function(code[: match.start()])}
        for match in matches:
            if _is_system_call(code[: match.start()], match.group(1) in self._words | own):
                yield match.start(), match.group(1)
        for pattern in self._patterns:
            for match in pattern.finditer(code):
                yield match.start(), match.group().strip()


_STATEMENT_WORDS = ("return", "co_return", "co_await", "co_yield", "else", "do")


def _is_own_function(before):
    """Whether what stands before a name and "(" makes it a declaration: a type, or a type and a class."""
    before = re.sub(r"(\w+\s*::\s*)+$", "", before[-200:]).rstrip()
    word = re.search(r"\b\w+$", before)
    if word is not None:
        return word.group() not in _STATEMENT_WORDS
    return before.endswith(">") and not before.endswith("->")


def _is_system_call(before, only_global):
    """Whether a name followed by "(" is a call of the C function, going by what stands before it."""
    before = before[-200:].rstrip()
    if before.endswith("::"):
        qualifier = re.search(r"(\w+|>)\s*::$", before)
        return qualifier is None or qualifier.group(1) in ("return", "std")
    if only_global or before.endswith((".", "->")):
        return False
    word = re.search(r"\b\w+$", before)
    if word is not None:  # a type before it makes it a declaration
        return word.group() in _STATEMENT_WORDS
    if before.endswith(("&&", "||")):
        return before[:-2].endswith((" ", ")", "\n"))  # `T&& open(...)` is a declaration
    return not before.endswith((">", "*", "&", "~", ":"))


DOORS = [
    Door(
        "file-door",
        ("src/env/",),
        _FILE_CALLS,
        _FILE_WORDS,
        (r"\bstd::filesystem\b", r"\bstd::[io]?fstream\b", r"#\s*include\s*<(?:fstream|filesystem)>"),
        {
            "src/arena/": (
                {"memfd_create", "mmap", "fallocate", "posix_fallocate", "ftruncate", "fchmod"},
                "the arena is memory that is shared through a descriptor; nothing reaches a disk",
            ),
            "src/arena/read_through.cpp": ({"pread"}, "that memory through its descriptor"),
            "src/device/cuda_list_memory.cpp": ({"mmap"}, "memory of its own, anonymous, that no forked child inherits"),
            "src/arena/arena.cpp": ({"open"}, "that memory once more through its own descriptor, for reading only"),
            "src/apps/detach.cpp": ({"open"}, "the standard streams of a daemon that detaches go to /dev/null"),
            "src/transport/": (
                {"unlink", "chmod", "fchmod", "lstat"},
                "a Unix socket has a name in the file system, with a mode of its own",
            ),
        },
    ),
    Door(
        "thread-door",
        ("src/base/thread.",),
        ("pthread_create", "thrd_create"),
        (),
        (r"\bstd::j?thread\b(?!\s*::)", r"\bstd::async\b", r"\bthread_pool\b", r"\.\s*detach\s*\(\s*\)"),
    ),
    Door(
        "clock-door",
        ("src/base/clock.",),
        ("clock_gettime", "gettimeofday", "timespec_get"),
        (),
        (
            r"\b(?:system|steady|high_resolution|utc)_clock\s*::\s*now\b",
            r"(?<![\w.>])(?:std::|::)?time\s*\(\s*(?:nullptr|NULL|0|&\w+)\s*\)",
        ),
    ),
    Door("socket-door", ("src/transport/",), _SOCKET_CALLS, _SOCKET_WORDS),
    # These read 0.25 as 0 in a process whose locale has a decimal comma; std::from_chars does not.
    Door("locale-door", (), "strtod strtof strtold atof stod stof stold sscanf".split()),
    Door(
        "gpu-door",
        ("src/device/",),
        ("dlopen", "dlmopen", "dlsym"),  # the driver is the one library that is loaded at run time
        (),
        (r"#\s*include\s*[<\"](?:cuda|cudart|nvml|device/cuda_api)\w*\.h(?:pp)?[>\"]", r"\bcu(?:da)?[A-Z]\w*\s*\("),
    ),
]
