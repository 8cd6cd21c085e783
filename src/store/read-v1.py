#!/usr/bin/env python3
"""Reads a Stillframe store of format version 1 with nothing but Python 3.8 or later; FORMAT-v1.md says what bytes mean.

    python3 read-v1.py list [CHECKPOINT]                                checkpoints of the store, or tensors of one
    python3 read-v1.py verify [CHECKPOINT]                              check one, or all
    python3 read-v1.py extract CHECKPOINT OUT.safetensors [TENSOR ...]  all tensors, or those named

The store is the directory of this file; --store DIR in front names another. With several ranks a tensor is called
rank-00001/NAME. Every CRC-32 is checked before a byte is used, no link is followed, nothing a file holds is ever run.
"""
import datetime, functools, json, os, re, stat, struct, sys, zlib

MIB = 1 << 20
CONSTANT, SHARED, DERIVED = 1, 2, 3
SPACE = rb"[ \t\r\n]*"
FIRST_MEMBERS = [rb"\{", b'"format"', b":", b'"stillframe"', b",", b'"version"', b":", rb"([1-9][0-9]*)", b"[,}]"]
VERSION = re.compile(SPACE + SPACE.join(FIRST_MEMBERS))
PADDED = r"(?:\d{6}|[1-9]\d{6,})"
NAME = re.compile(rf"({PADDED})-step(-?{PADDED})-(\d{{8}}T\d{{4}}[0-5]\dZ)", re.ASCII)


def expect(condition, complaint):
    if not condition:
        raise ValueError(complaint)


def open_file(directory, name, size=None):
    expect(not os.path.islink(directory), f"{directory} is a link")
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = open(os.path.join(directory, name), "rb", opener=lambda path, _: os.open(path, flags))
    info = os.fstat(file.fileno())
    expect(stat.S_ISREG(info.st_mode), f"{name} is no regular file")
    expect(size in (None, info.st_size), f"{name} has {info.st_size} bytes; the manifest says {size}")
    return file


def parse_name(text):
    """(sequence, step), or None: a checkpoint's name is only what a writer would write."""
    found = NAME.fullmatch(text)
    try:
        datetime.datetime.strptime(found[3], "%Y%m%dT%H%M%SZ")
        sequence, step = int(found[1]), int(found[2])
    except (TypeError, ValueError):
        return None
    fits = sequence < 1 << 64 and -(1 << 63) <= step < 1 << 63 and found[2] != "-000000"
    return (sequence, step) if fits else None


def read_manifest(store, name):
    expect(parse_name(name), f"{name} is no checkpoint's name")
    with open_file(os.path.join(store, name), "manifest.json") as file:
        text = file.read(100_000_001)
    sealed = text[-13:] == b'%08x"}\n}\n' % zlib.crc32(text[:-13])
    rotten = text[-80:].startswith(b'\n "seal": {"xxh128": "') and not sealed
    later = VERSION.match(text[:4096])
    if later and later[1] != b"1" and not rotten:
        later = later[1][:20].decode()
        raise ValueError(f"format version {later} needs a later reader; nothing is wrong with the checkpoint")
    expect(len(text) <= 100_000_000, "manifest.json is larger than the limit")
    expect(sealed, "manifest.json does not match its CRC-32")
    manifest = json.loads(text)
    version, step = manifest["version"], manifest["step"]
    expect(manifest["format"] == "stillframe", "manifest.json is of another program")
    expect(version == 1, f"format version {version} is no version 1")
    label = f"{manifest['sequence']:06d}-step{'-' * (step < 0)}{abs(step):06d}-"
    expect(name.startswith(label), f"manifest.json belongs to {label}...: it was copied, or the directory renamed")
    return manifest


def unpack_lz4(block, size):
    """An LZ4 block: literals, then a copy of earlier output, again and again; it ends with literals."""
    out, at = bytearray(), 0

    def length_of(nibble):
        nonlocal at
        length, more = nibble, nibble == 15
        while more:
            length, more, at = length + block[at], block[at] == 255, at + 1
        expect(len(out) + length <= size, "an LZ4 block is too long")
        return length

    while True:
        token, at = block[at], at + 1
        length = length_of(token >> 4)
        out += block[at:at + length]
        at += length
        if at >= len(block):
            return out
        distance, at = block[at] | block[at + 1] << 8, at + 2
        length = length_of(token & 15) + 4
        expect(0 < distance <= len(out), "an LZ4 block refers to before its start")
        out += (out[-distance:] * (length // distance + 1))[:length]


def unpack_planes(data, size):
    """Codec 1: runs of one element width each; plane p of a run holds byte p of every element."""
    runs, at = [], 2
    for _ in range(struct.unpack_from("<H", data)[0]):
        length, width = struct.unpack_from("<IB", data, at)
        runs.append((length, width, [struct.unpack_from("<BI", data, at + 5 + 5 * p) for p in range(width)]))
        at += 5 + 5 * width
    expect(sum(length for length, _, _ in runs) == size, "the runs of a chunk have the wrong length")
    raw = bytearray()
    for length, width, planes in runs:
        run = bytearray(length)
        for p, (method, stored) in enumerate(planes):
            plane, at = data[at:at + stored], at + stored
            run[p::width] = unpack_lz4(plane, length // width) if method else plane
        raw += run
    return bytes(raw)


def round_off(value, bits):
    """To nearest, ties to even."""
    return value + (1 << bits - 1) - 1 + (value >> bits & 1) >> bits


def bf16_of_f32(bits):
    return 0x7FC0 if bits & 0x7FFFFFFF > 0x7F800000 else round_off(bits, 16)


def f16_of_f32(bits):
    sign, size = bits >> 16 & 0x8000, bits & 0x7FFFFFFF
    if size >= 0x477FF000:
        return 0x7E00 if size > 0x7F800000 else sign | 0x7C00
    if size >= 0x38800000:
        return sign | round_off(size - 0x38000000, 13)
    shift = 126 - (size >> 23)  # a subnormal
    return sign | (round_off(size & 0x7FFFFF | 0x800000, shift) if shift < 25 else 0)


def described(entry, begin):
    """What safetensors says of a tensor; it has no C128."""
    odd = entry["dtype"] == "C128"
    shape = entry["shape"] + [16] * odd
    return {"dtype": "U8" if odd else entry["dtype"], "shape": shape, "data_offsets": [begin, begin + entry["bytes"]]}


def without_repeats(members):
    expect(len(dict(members)) == len(members), "the same key twice in one JSON object")
    return dict(members)


def check_header(prefix, metadata, entries):
    """A safetensors header, which no checksum covers, against what the manifest says."""
    right = struct.pack("<Q", len(prefix) - 8) == prefix[:8] and prefix[8:9] == b"{" and len(prefix) % 4096 == 0
    expect(right, "the length of the safetensors header is not what the manifest says")
    found = json.loads(prefix[8:].decode(), object_pairs_hook=without_repeats)
    meant = {entry["name"]: described(entry, entry["offset"]) for entry in entries}
    meant["__metadata__"] = metadata
    same = json.dumps(found, sort_keys=True) == json.dumps(meant, sort_keys=True)  # 1, 1.0 and true are not the same
    expect(same, "the safetensors header describes other tensors, or another run or step, than the manifest")


class Rank:
    """The image of one rank, a chunk at a time; the last few chunks are kept."""

    def __init__(self, directory, info, metadata):
        stem, table, data = f"rank-{info['rank']:05d}", info["table"], info["data"]
        self.size, self.entries = info["image_bytes"], info["entries"]
        self.chunk = functools.lru_cache(8)(self.read_chunk)
        with open_file(directory, stem + ".table", table["bytes"]) as file:
            self.table = file.read()
        expect("%08x" % zlib.crc32(self.table) == table["crc32"], f"{stem}.table does not match its CRC-32")
        header = struct.pack("<8sIIQQI", b"SFTABLE", 1, 64, (self.size + MIB - 1) // MIB, self.size, MIB)
        expect(self.table[:36] == header, f"{stem}.table is of another image")
        files = [(stem + (".safetensors" if data["start"] else ".data"), data["bytes"])]
        files += [(f"{stem}.shared-{i}.data", one["bytes"]) for i, one in enumerate(info["shared"])]
        self.files = [open_file(directory, *one) for one in files]
        if data["start"]:
            check_header(self.files[0].read(data["start"]), metadata, self.entries)

    def record(self, index):
        """location, codec, source, raw bytes, stored bytes, CRC-32, offset, pattern"""
        return struct.unpack_from("<BBHIIIQ20x16s", self.table, 64 + 64 * index)

    def read_chunk(self, index):
        location, codec, source, size, stored, crc, offset, pattern = self.record(index)
        file = self.files[1 + source if location == SHARED else 0]
        expect(location <= DERIVED and codec <= 1 and stored <= size <= MIB, f"chunk {index} is of no known kind")
        file.seek(offset)
        raw = file.read(stored)
        if location == CONSTANT:
            raw = (pattern * (size // 16 + 1))[:size]
        elif location == DERIVED:
            raw = self.derive(raw, size)
        elif codec:
            raw = unpack_planes(raw, size)
        right = len(raw) == size == min(MIB, self.size - index * MIB) and zlib.crc32(raw) == crc
        expect(right, f"{file.name}, chunk {index}: the content does not match its CRC-32")
        return raw

    def derive(self, pieces, size):
        pieces, sources, end = list(struct.iter_unpack("<QIB3x", pieces)), [], 0
        known = all(rule <= 2 for _, _, rule in pieces) and sum(length for _, length, _ in pieces) == size
        expect(known, "a derived chunk has a piece of no known kind")
        for source, length, rule in pieces:
            length *= 2 if rule else 1
            sources.append((source, length, end))
            end += length
        raw, out, end = bytearray(end), bytearray(), 0
        for source, length, at in sorted(sources):  # so that each source chunk is read once
            for piece in self.read(source, source + length, derived=False):
                raw[at:at + len(piece)], at = piece, at + len(piece)
        for _, length, rule in pieces:
            piece, end = raw[end:end + length * (2 if rule else 1)], end + length * (2 if rule else 1)
            if rule:
                narrow = bf16_of_f32 if rule == 1 else f16_of_f32
                piece = struct.pack(f"<{length // 2}H", *map(narrow, struct.unpack(f"<{length // 2}I", piece)))
            out += piece
        return bytes(out)

    def read(self, begin, end, derived=True):
        """The image from byte `begin` to `end`, in pieces of at most a chunk."""
        expect(0 <= begin <= end <= self.size, "a range outside the image")
        for index in range(begin // MIB, (end + MIB - 1) // MIB):
            expect(derived or self.record(index)[0] != DERIVED, "a derived chunk is made from another")
            yield self.chunk(index)[max(0, begin - index * MIB):end - index * MIB]


def names_in(store):
    """Newest first. A link is listed, to be refused by name."""
    there = [one.name for one in os.scandir(store) if one.is_symlink() or one.is_dir()]
    return sorted(filter(parse_name, there), key=parse_name, reverse=True)


def ranks_of(store, name):
    manifest = read_manifest(store, name)
    metadata = {"format": "pt", "stillframe.run": manifest["run"], "stillframe.step": str(manifest["step"])}
    return ((info, Rank(os.path.join(store, name), info, metadata)) for info in manifest["ranks"])


def tensors_of(store, name):
    """(title, entry, rank) of each, in the image's order."""
    ranks = list(ranks_of(store, name))
    for info, rank in ranks:
        prefix = f"rank-{info['rank']:05d}/" if len(ranks) > 1 else ""
        yield from ((prefix + entry["name"], entry, rank) for entry in rank.entries)


def each(names, describe):
    """Prints what `describe` says of each; whatever is wrong with one, the next has its turn. How many were bad?"""
    bad = 0
    for name in names:
        try:
            print(name, describe(name))
        except Exception as fault:
            print(name, f"BAD: {type(fault).__name__}: {fault}")
            bad += 1
    return bad


def list_command(store, name=None):
    def about(name):
        manifest = read_manifest(store, name)
        marks = [mark for mark in ("verified", "bad", "pinned") if os.path.lexists(os.path.join(store, name, mark))]
        return " ".join([manifest["run"], f"{manifest['raw_bytes']} bytes", json.dumps(manifest["metrics"])] + marks)

    if not name:
        return 1 if each(names_in(store), about) else 0
    for title, entry, _ in tensors_of(store, name):
        print(json.dumps(title), entry["dtype"], entry["shape"])


def verify_command(store, name=None):
    def check(name):
        for _, rank in ranks_of(store, name):
            for _ in rank.read(0, rank.size):
                pass
        return "ok"

    return 1 if each([name] if name else names_in(store), check) else 0


def extract_command(store, name, target, *wanted):
    chosen = [one for one in tensors_of(store, name) if not wanted or one[0] in wanted]
    missing = set(wanted) - {title for title, _, _ in chosen}
    expect(not missing, f"there is no tensor {', '.join(sorted(missing))}; nothing was written")
    taken = any(title == "__metadata__" for title, _, _ in chosen)
    expect(not taken, "safetensors keeps the name __metadata__ for itself; name the other tensors. Nothing was written")
    header, end = {}, 0
    for title, entry, _ in chosen:
        header[title] = described(entry, end)
        end += entry["bytes"]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(target, "xb") as out:
        try:
            out.write(struct.pack("<Q", len(text)) + text)
            for _, entry, rank in chosen:
                out.writelines(rank.read(entry["offset"], entry["offset"] + entry["bytes"]))
        except BaseException:
            os.remove(target)
            raise
    print(f"{len(chosen)} tensors, {end} bytes: {target}")


def main(arguments):
    store = os.path.dirname(os.path.abspath(__file__))
    if arguments[:1] == ["--store"]:
        store, arguments = arguments[1], arguments[2:]
    command, *rest = arguments or ["help"]
    if command == "list" and len(rest) <= 1:
        return list_command(store, *rest)
    if command == "verify" and len(rest) <= 1:
        return verify_command(store, *rest)
    if command == "extract" and len(rest) >= 2:
        return extract_command(store, *rest)
    print(__doc__)
    return 2


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Exception as fault:
        sys.exit(f"read-v1.py: {type(fault).__name__}: {fault}")
