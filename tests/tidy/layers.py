"""The include edges. The one truth is src/CMakeLists.txt: its stillframe_layer lines, followed transitively."""

import re

from source_text import line_of

# Third-party headers, and the library a layer must name itself to include them.
THIRD_PARTY = {
    "boost/": "asio",
    "nlohmann/": "json",
    "toml++/": "toml",
    "spdlog/": "spdlog",
    "fmt/": "spdlog",
    "CLI/": "cli11",
    "lz4": "lz4",
    "zstd": "zstd",
    "xxhash": "xxhash",
    "isa-l": "isal",
}
# The C headers that the C ABI needs; C++ ones have neither a slash nor a dot.
C_STANDARD_HEADERS = {"stddef.h", "stdint.h", "stdbool.h"}

# The bodies of kernels, which hosts compile as well (cuda/): below the folder that is the door to the GPU.
KERNELS = ("cuda/", "device")

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"\n]+)"|<([^>\n]+)>)', re.MULTILINE)


class Layers:
    def __init__(self, cmake_text):
        self.below = {}  # folder -> every folder it may include
        self.third_party = {}  # folder -> third-party libraries that it names
        direct = {}
        text = re.sub(r"#.*", "", cmake_text)
        for match in re.finditer(r"stillframe_layer\(\s*(\w+)([^)]*)\)", text):
            words = match.group(2).split()
            direct[match.group(1)] = [word[3:] for word in words if word.startswith("sf_")]
            self.third_party[match.group(1)] = {word[12:] for word in words if word.startswith("third_party_")}
        for folder in direct:
            reached, waiting = set(), list(direct[folder])
            while waiting:
                lower = waiting.pop()
                if lower not in reached:
                    reached.add(lower)
                    waiting += direct.get(lower, [])
            self.below[folder] = reached

    def circles(self):
        return sorted(folder for folder, below in self.below.items() if folder in below)


def includes_of(code):
    """(line, header, quoted)"""
    for match in _INCLUDE.finditer(code):
        quoted = match.group(1) is not None
        yield line_of(code, match.start(1 if quoted else 2)), match.group(1) or match.group(2), quoted


def check_public_header(code):
    for line, header, quoted in includes_of(code):
        standard = not quoted and ("/" not in header and "." not in header or header in C_STANDARD_HEADERS)
        if not standard and not header.startswith("stillframe/"):
            yield line, "include-edge", f"a public header may include only itself and the standard library: {header}"


def check_layer_source(folder, code, layers):
    if folder not in layers.below and folder != "apps":
        missing = f"src/CMakeLists.txt has no stillframe_layer({folder} ...)"
        yield 1, "include-edge", f"src/{folder} is not a layer: {missing}"
        return
    for line, header, quoted in includes_of(code):
        library = next((name for prefix, name in THIRD_PARTY.items() if header.startswith(prefix)), None)
        top = header.split("/")[0]
        if header.startswith("stillframe/") or (header.startswith(KERNELS[0]) and folder == KERNELS[1]):
            continue
        if library is not None:
            if folder != "apps" and library not in layers.third_party[folder]:
                unnamed = f"does not name third_party_{library} in src/CMakeLists.txt"
                yield line, "include-edge", f"src/{folder} {unnamed}: {header}"
        elif "/" in header and (top in layers.below or top == "apps"):
            if folder != "apps" and top != folder and top not in layers.below[folder]:
                yield line, "include-edge", f"src/{folder} must not include src/{top}: it is not below it ({header})"
        elif quoted:
            yield line, "include-edge", f'"{header}" is neither "<folder>/<file>" of src nor "stillframe/<file>"'
