"""Shows that each rule bites: a tiny tree per case, and the findings that it must give, no more and no fewer."""

import pathlib
import tempfile

CMAKE = """stillframe_layer(base third_party_spdlog)
stillframe_layer(env sf_base)
stillframe_layer(device sf_base)
stillframe_layer(store sf_env)
stillframe_layer(codec sf_base)
"""
P = "#pragma once\n"
_TODO = "TO" + "DO"

# path, content, the rules that must be reported as (line, rule)
CASES = [
    # include edges
    ("src/env/a.cpp", '#include "store/b.hpp"\n', [(1, "include-edge")]),
    ("src/env/a.cpp", "#include <store/b.hpp>\n", [(1, "include-edge")]),
    ("src/codec/a.hpp", P + '\n#include "env/b.hpp"\n', [(3, "include-edge")]),
    ("src/env/a.cpp", '#include "b.hpp"\n', [(1, "include-edge")]),
    ("src/env/a.cpp", "#include <nlohmann/json.hpp>\n", [(1, "include-edge")]),
    ("src/env/a.cpp", '#include "cuda/a_body.hpp"\n', [(1, "include-edge")]),
    ("src/unheard/a.cpp", "int x;\n", [(1, "include-edge")]),
    ("src/store/a.cpp", '#include "base/b.hpp"\n#include "stillframe/status.hpp"\n#include <sys/stat.h>\n', []),
    ("src/base/a.cpp", "#include <spdlog/spdlog.h>\n", []),
    ("src/apps/a.cpp", '#include "store/b.hpp"\n#include <CLI/CLI.hpp>\n', []),
    ("include/stillframe/a.hpp", P + '#include "base/b.hpp"\n', [(2, "include-edge")]),
    ("include/stillframe/a.hpp", P + "#include <boost/asio.hpp>\n", [(2, "include-edge")]),
    ("include/stillframe/a.hpp", P + '#include <vector>\n#include <stdint.h>\n#include "stillframe/b.hpp"\n', []),
    ("src/CMakeLists.txt", CMAKE + "stillframe_layer(p sf_q)\nstillframe_layer(q sf_p)\n", [(1, "include-edge")] * 2),
    # the file door
    ("src/store/a.cpp", "int f() {\n  return open(p, 0);\n}\n", [(2, "file-door")]),
    ("src/store/a.cpp", "int fd = ::open(p, 0);\n", [(1, "file-door")]),
    ("src/store/a.cpp", "auto* f = fopen(p, m);\n", [(1, "file-door")]),
    ("src/store/a.cpp", "auto* f = std::fopen(p, m);\n", [(1, "file-door")]),
    (
        "src/store/a.cpp",
        "std::ifstream in(p);\nstd::ofstream out(p);\nstd::fstream both(p);\n",
        [(n, "file-door") for n in (1, 2, 3)],
    ),
    (
        "src/store/a.cpp",
        "void f() {\n  mkdir(p, 0);\n  unlink(p);\n  fsync(1);\n}\n",
        [(n, "file-door") for n in (2, 3, 4)],
    ),
    ("src/store/a.cpp", "if (ok && fdatasync(fd) == 0 && rename(a, b)) {}\n", [(1, "file-door")] * 2),
    ("src/store/a.cpp", "auto s = std::filesystem::exists(p);\n", [(1, "file-door")]),
    ("src/store/a.cpp", "auto m = memfd_create(n, 0);\n", [(1, "file-door")]),
    ("src/env/a.cpp", "int fd = ::open(p, 0);\n", []),
    (
        "src/store/a.cpp",
        "// ::open(p)\n/* fopen(p,\n unlink(p) */ const char* t = \"mkdir(p)\";\nauto r = R\"(::open(x))\";\n",
        [],
    ),
    (
        "src/store/a.hpp",
        P + "Result<X> open(const P& p);\nStatus rename(int a);\nauto x = env.open(p), y = e->rename(a, b);\n",
        [],
    ),
    ("src/store/a.cpp", "Result<X> Reader::open(const P& p) { return Reader::open(p); }\nint n = 1'000'000;\n", []),
    (
        "src/store/a.cpp",
        "bool open(X x);\nbool f() { return open(x); }\nint g() { return ::open(p, 0); }\n",
        [(3, "file-door")],
    ),
    ("src/store/a.cpp", "R<X> A::rename(X x) {\n  return rename(x, 1);\n}\n", []),
    # the thread door
    (
        "src/store/a.cpp",
        "std::thread t(f);\nstd::jthread u(f);\nauto v = std::async(f);\nt.detach();\n",
        [(n, "thread-door") for n in (1, 2, 3, 4)],
    ),
    ("src/store/a.cpp", "int r = pthread_create(&t, nullptr, f, nullptr);\n", [(1, "thread-door")]),
    ("src/store/a.cpp", "std::this_thread::yield();\nauto n = std::thread::hardware_concurrency();\n", []),
    ("src/base/thread.cpp", "std::thread t(f);\n", []),
    # the clock door
    (
        "src/store/a.cpp",
        "auto a = std::chrono::system_clock::now();\nauto b = steady_clock::now();\n",
        [(1, "clock-door"), (2, "clock-door")],
    ),
    (
        "src/store/a.cpp",
        "void f() {\n  clock_gettime(0, &t);\n  gettimeofday(&t, 0);\n}\n",
        [(2, "clock-door"), (3, "clock-door")],
    ),
    ("src/store/a.cpp", "auto a = time(nullptr) + std::time(nullptr);\n", [(1, "clock-door")] * 2),
    ("src/base/clock.cpp", "auto a = std::chrono::system_clock::now();\n", []),
    ("src/store/a.cpp", "auto a = now.time(0);\nstd::chrono::system_clock::time_point p;\n", []),
    # the locale door
    (
        "src/store/a.cpp",
        "double a = std::strtod(t, nullptr);\nreturn atof(t);\nauto b = std::stod(t);\n",
        [(n, "locale-door") for n in (1, 2, 3)],
    ),
    ("src/store/a.cpp", "std::from_chars(a, b, value);\n", []),
    # the socket door
    (
        "src/store/a.cpp",
        "int s = socket(1, 2, 0);\nint n = ::sendmsg(s, &m, 0) + recvmsg(s, &m, 0);\n",
        [(1, "socket-door"), (2, "socket-door"), (2, "socket-door")],
    ),
    ("src/store/a.cpp", "int n = ::connect(s, a, b);\nauto c = connect(path);\n", [(1, "socket-door")]),
    # the GPU door
    (
        "src/base/a.cpp",
        "void* l = dlopen(p, 1);\nauto f = ::dlsym(l, n);\n#include <cuda.h>\nint r = cuInit(0) + x.cuStreamQuery(s);\n",
        [(n, "gpu-door") for n in (1, 2, 3, 4, 4)],
    ),
    ("src/device/a.cpp", '#include "cuda/a_body.hpp"\n', []),
    ("src/device/a.cpp", "void* l = ::dlopen(p, 1);\nint r = calls.cuInit(0);\n", []),
    ("src/base/a.cpp", "int r = cursor(0) + cut(1);\nauto d = make_cuda_device();\n", []),
    # sleeps
    ("tests/unit/a.cpp", "std::this_thread::sleep_for(x);\nusleep(3);\n", [(1, "sleep-in-test"), (2, "sleep-in-test")]),
    ("tests/unit/a.cpp", "sleep_for(x);  // tidy: allow-sleep the kernel gives no event for this\n", []),
    ("tests/unit/a.cpp", "sleep_for(x);  // tidy: allow-sleep\n", [(1, "sleep-in-test")]),
    ("tests/e2e/a.py", "import time\ntime.sleep(1)\n", [(2, "sleep-in-test")]),
    ("python/tests/test_a.py", "import time\ntime.sleep(1)\n", [(2, "sleep-in-test")]),
    ("tests/e2e/a.py", '"""time.sleep(1)"""  # time.sleep(1)\n', []),
    ("tests/e2e/a.sh", "true\nsleep 1\n", [(2, "sleep-in-test")]),
    ("scripts/a.sh", "sleep 1\n", []),
    # lines
    ("src/store/a.cpp", "int x;\n" * 401, [(401, "file-length")]),
    ("src/store/a.cpp", "int x;\n" * 400, []),
    ("scripts/run", "#!/bin/sh\n" + "true\n" * 400, [(401, "file-length")]),
    ("src/store/a.cpp", f"int x;\n// {_TODO}: later\n", [(2, "unfinished-word")]),
    ("python/a.py", "x = 1  # HA" + "CK\n", [(1, "unfinished-word")]),
    ("src/store/a.cpp", "int x; \n\tint y;\n", [(1, "white-space"), (2, "white-space")]),
    ("CMakeLists.txt", "project(x) \n", [(1, "white-space")]),
    ("src/store/a.hpp", "int x;\n", [(1, "pragma-once")]),
    ("include/stillframe/stillframe.h", "int x;\n", []),
    ("build/src/store/a.cpp", "std::thread t(f); \n", []),
]


def run(findings):
    """What is wrong, one line a case; empty when every rule bites."""
    problems = []
    for path, content, expected in CASES:
        with tempfile.TemporaryDirectory(prefix="stillframe-tidy-") as folder:
            root = pathlib.Path(folder)
            for name, text in {"src/CMakeLists.txt": CMAKE, path: content}.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text, encoding="utf-8")
            found = sorted(findings(root))
        if [(line, rule) for _, line, rule, _ in found] != sorted(expected) or any(name != path for name, *_ in found):
            problems.append(f"{path} {content[:60]!r}: expected {sorted(expected)}, found {found}")
    return problems
