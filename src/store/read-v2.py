#!/usr/bin/env python3
"""Reads a Stillframe store of format version 1 or 2 with nothing but Python 3.8 or later and read-v1.py beside it.

    python3 read-v2.py list [CHECKPOINT]                                checkpoints of the store, or tensors of one
    python3 read-v2.py verify [CHECKPOINT]                              check one, or all
    python3 read-v2.py extract CHECKPOINT OUT.safetensors [TENSOR ...]  all tensors, or those named

The store is the directory of this file; --store DIR in front names another. With several ranks a tensor is called
rank-00001/NAME. Every CRC-32 is checked before a byte is used, no link is followed, nothing a file holds is ever run.
FORMAT-v2.md says what bytes mean; here is what it adds to version 1. A few MB are decoded in a second.
"""
import importlib.util, itertools, json, os, re, struct, sys, zlib

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
spec = importlib.util.spec_from_file_location("read_v1", os.path.join(HERE, "read-v1.py"))
v1 = importlib.util.module_from_spec(spec)
spec.loader.exec_module(v1)
expect = v1.expect

LZ4, CONSTANT, LITERALS, NIBBLES, DIFFERENCES = 1, 2, 3, 4, 16
BLOCK, WINDOW = 1 << 17, 7 << 3
LONGEST_CODE = 11


def read_manifest(store, name):
    """As version 1 has it, but for the versions that are known."""
    expect(v1.parse_name(name), f"{name} is no checkpoint's name")
    with v1.open_file(os.path.join(store, name), "manifest.json") as file:
        text = file.read(100_000_001)
    found = v1.VERSION.match(text[:4096])
    if not found or found[1] != b"2":
        return with_version(v1_read_manifest(store, name))
    expect(len(text) <= 100_000_000, "manifest.json is larger than the limit")
    expect(text[-13:] == b'%08x"}\n}\n' % zlib.crc32(text[:-13]), "manifest.json does not match its CRC-32")
    manifest = json.loads(text)
    step = manifest["step"]
    expect(manifest["version"] == 2, "manifest.json has two versions")
    label = f"{manifest['sequence']:06d}-step{'-' * (step < 0)}{abs(step):06d}-"
    expect(name.startswith(label), f"manifest.json belongs to {label}...: it was copied, or the directory renamed")
    return with_version(manifest)


def with_version(manifest):
    """So that each rank knows it."""
    for info in manifest["ranks"]:
        info["version"] = manifest["version"]
    return manifest


class Rank(v1.Rank):
    def __init__(self, directory, info, metadata):
        super().__init__(directory, info, metadata)
        self.version = info["version"]

    def read_chunk(self, index):
        location, codec, source, size, stored, crc, offset, _ = self.record(index)
        if codec != 2:
            return super().read_chunk(index)
        known = self.version >= 2 and location in (0, v1.SHARED) and stored < size <= v1.MIB
        expect(known, f"chunk {index} is of no known kind")
        file = self.files[1 + source if location == v1.SHARED else 0]
        file.seek(offset)
        try:
            raw = unpack_planes(file.read(stored), size)
        except (ValueError, IndexError, struct.error) as fault:
            raise ValueError(f"{file.name}, chunk {index}: {fault}") from fault
        right = len(raw) == size == min(v1.MIB, self.size - index * v1.MIB) and zlib.crc32(raw) == crc
        expect(right, f"{file.name}, chunk {index}: the content does not match its CRC-32")
        return raw


def unpack_planes(data, size):
    """Codec 2: as codec 1, with more ways of storing a plane, and elements that may have been rotated."""
    runs, at = [], 2
    for _ in range(struct.unpack_from("<H", data)[0]):
        length, width, rotated = struct.unpack_from("<IBB", data, at)
        right = width in (1, 2, 4, 8, 16) and length and length % width == 0 and rotated <= (width in (2, 4, 8))
        expect(right, "a run of no known kind")
        runs.append((length, width, rotated, [struct.unpack_from("<BI", data, at + 6 + 5 * p) for p in range(width)]))
        at += 6 + 5 * width
    expect(sum(run[0] for run in runs) == size, "the runs of a chunk have the wrong length")
    raw = bytearray()
    for length, width, rotated, planes in runs:
        run = bytearray(length)
        for p, (method, stored) in enumerate(planes):
            run[p::width], at = unpack_plane(method, data[at:at + stored], length // width), at + stored
        raw += rotate_right(run, width) if rotated else run
    expect(at == len(data), "bytes behind the planes of a chunk")
    return bytes(raw)


def rotate_right(run, width):
    """Each number of `width` bytes by one bit: all of them at once, as one large number."""
    ones = int.from_bytes((b"\1" + bytes(width - 1)) * (len(run) // width), "little")
    bits = int.from_bytes(run, "little")
    lowest, top = bits & ones, 8 * width - 1
    return ((bits - lowest) >> 1 | lowest << top).to_bytes(len(run), "little")


def unpack_plane(method, data, size):
    kind = method & ~DIFFERENCES
    expect(kind in PLANES and (kind in (LZ4, LITERALS, NIBBLES) or kind == method), "a plane has an unknown method")
    expect(len(data) < size or kind in (0, CONSTANT), "a plane is stored in more bytes than it has")
    plane = PLANES[kind](data, size)
    expect(len(plane) == size, "a plane has the wrong length")
    if method & DIFFERENCES:
        plane = bytes(itertools.accumulate(plane, lambda sum, byte: sum + byte & 255))
    return plane


LOW, HIGH = bytes(i & 15 for i in range(256)), bytes(i >> 4 for i in range(256))


def unpack_nibbles(data, size):
    half = (size + 1) // 2
    base, escapes, nibbles = data[0], data[1:-half], data[-half:]
    plane = nibbles.translate(LOW) + nibbles.translate(HIGH)[:size - half]
    expect(1 + len(escapes) + half == len(data) and plane.count(15) == len(escapes), "nibbles have lost an escape")
    expect(size % 2 == 0 or nibbles[-1] < 16, "a nibble behind the last")
    out, at = bytearray(plane.translate(bytes(base + i & 255 for i in range(256)))), -1
    for escape in escapes:
        at = plane.index(15, at + 1)
        out[at] = escape
    return out


def bits_of(stream):
    """The bits of a stream in the order in which they are taken, as text; the end mark is dropped."""
    expect(stream and stream[-1], "a stream has no end mark")
    return bin(int.from_bytes(stream, "little"))[3:]


def unpack_literals(frame, size):
    """A frame of Zstandard without sequences."""
    expect(frame[:4] == b"\x28\xb5\x2f\xfd" and not frame[4] & 31 and frame[4] != 0, "no literals frame")
    form = frame[4] >> 6
    at = 5 if frame[4] & 32 else 6
    expect(at == 5 or frame[5] == WINDOW, "a literals frame of another window")
    length = int.from_bytes(frame[at:at + (1 << form)], "little") + (256 if form == 1 else 0)
    expect(length == size, "a literals frame has the wrong length")
    at, out, tree, last = at + (1 << form), bytearray(), None, 0
    while not last:
        header = int.from_bytes(frame[at:at + 3], "little")
        last, kind, length = header & 1, header >> 1 & 3, header >> 3
        expect(kind < 3 and length <= BLOCK and at + 3 <= len(frame), "a block of no known kind")
        end = at + 3 + (1 if kind == 1 else length)
        block, at = frame[at + 3:end], end
        if kind == 2:
            expect(len(block) == length and block[-1] == 0, "a block with sequences")
            block, tree = unpack_block(block[:-1], tree)
        out += block * length if kind == 1 else block
        expect(len(out) <= size, "a literals frame is too long")
    expect(at == len(frame), "bytes behind the last block")
    return out


def unpack_block(block, tree):
    """The literals of one block, and the tree that the next block may use again."""
    kind, form = block[0] & 3, block[0] >> 2 & 3
    if kind < 2:
        header = (1, 2, 1, 3)[form]
        length = int.from_bytes(block[:header], "little") >> (3 if header == 1 else 4)
        expect(length <= BLOCK and len(block) == header + (1 if kind else length), "literals of the wrong length")
        return block[header:] * (length if kind else 1), tree
    header, bits = (3, 3, 4, 5)[form], (10, 10, 14, 18)[form]
    fields = int.from_bytes(block[:header], "little") >> 4
    length, size = fields & (1 << bits) - 1, fields >> bits
    coded = block[header:]
    least = 6 if form else 1
    expect(len(coded) == size and least <= length <= BLOCK, "literals of the wrong length")
    if kind == 2:
        tree, coded = read_tree(coded)
    expect(tree, "a block wants the tree of the one before; there is none")
    if form == 0:
        return decode(coded, tree, length), tree
    sizes, coded, quarter = struct.unpack_from("<HHH", coded), coded[6:], (length + 3) // 4
    ends = list(itertools.accumulate(sizes)) + [len(coded)]
    parts = [coded[begin:end] for begin, end in zip([0] + ends, ends)]
    lengths = [quarter] * 3 + [length - 3 * quarter]
    return b"".join(decode(part, tree, count) for part, count in zip(parts, lengths)), tree


def decode(stream, tree, count):
    """The regular expression of all codes cuts the bits into codes."""
    codes, value_of = tree
    bits = bits_of(stream)
    found = codes.findall(bits)
    expect(len(found) == count and sum(map(len, found)) == len(bits), "a stream does not end with its bytes")
    return bytes(map(value_of.__getitem__, found))


def read_tree(coded):
    """(expression, {code: byte}), and what stands behind the tree."""
    size = coded[0]
    if size >= 128:
        count, end = size - 127, 1 + (size - 126) // 2
        weights = [weight for byte in coded[1:end] for weight in (byte >> 4, byte & 15)][:count]
        expect(len(weights) == count, "a tree is cut short")
    else:
        end = 1 + size
        weights = unpack_weights(coded[1:end])
    total = sum(1 << weight - 1 for weight in weights if weight)
    expect(total and len(weights) <= 255 and max(weights) <= LONGEST_CODE, "a tree of wrong weights")
    longest = total.bit_length()
    rest = (1 << longest) - total
    expect(longest <= LONGEST_CODE and rest & rest - 1 == 0, "a tree of wrong weights")
    weights.append(rest.bit_length())
    expect(weights.count(1) >= 2 and weights.count(1) % 2 == 0, "a tree of wrong weights")
    value_of, place = {}, 0
    for weight, byte in sorted((weight, byte) for byte, weight in enumerate(weights) if weight):
        code = format(place >> weight - 1, "b").zfill(longest + 1 - weight)
        value_of[code], place = byte, place + (1 << weight - 1)
    return (re.compile(expression(sorted(value_of))), value_of), coded[end:]


def expression(codes):
    """Of codes that are sorted and of which none begins another: one digit at a time."""
    if codes == [""]:
        return ""
    ones = [code[1:] for code in codes if code[0] == "1"]
    zeros = [code[1:] for code in codes if code[0] == "0"]
    return f"(?:0{expression(zeros)}|1{expression(ones)})"


def unpack_weights(data):
    accuracy, counts, at = read_counts(data)
    symbols, left, size = [None] * (1 << accuracy), 0, 1 << accuracy
    free = size
    for symbol, count in enumerate(counts):
        if count == -1:
            free -= 1
            symbols[free] = symbol
    for symbol, count in enumerate(counts):
        for _ in range(max(count, 0)):
            symbols[left] = symbol
            left = left + (size >> 1) + (size >> 3) + 3 & size - 1
            while left >= free and left:
                left = left + (size >> 1) + (size >> 3) + 3 & size - 1
    number, table = [abs(count) for count in counts], []
    for symbol in symbols:
        bits = accuracy - number[symbol].bit_length() + 1
        table.append((symbol, bits, (number[symbol] << bits) - size))
        number[symbol] += 1
    stream = bits_of(data[at:])
    expect(len(stream) >= 2 * accuracy, "compressed weights are cut short")
    states, at, weights = [int(stream[:accuracy], 2), int(stream[accuracy:2 * accuracy], 2)], 2 * accuracy, []
    for turn in itertools.cycle((0, 1)):
        symbol, bits, base = table[states[turn]]
        weights.append(symbol)
        expect(len(weights) < 255, "too many weights")
        if at + bits > len(stream):
            return weights + [table[states[1 - turn]][0]]
        states[turn], at = base + int(stream[at:at + bits] or "0", 2), at + bits


def read_counts(data):
    """(accuracy, count of each symbol, bytes that they take)"""
    bits, at, counts = int.from_bytes(data, "little"), 4, []
    accuracy = (bits & 15) + 5
    expect(accuracy <= 6, "compressed weights of a table that is too large")
    rest = (1 << accuracy) + 1
    while rest > 1:
        width = rest.bit_length()
        few = (1 << width) - 1 - rest
        value = bits >> at & (1 << width - 1) - 1
        if value < few:
            at += width - 1
        else:
            value = bits >> at & (1 << width) - 1
            at += width
            value -= few if value >> width - 1 else 0
        counts.append(value - 1)
        rest -= abs(value - 1)
        more = 3 if value == 1 else 0
        while more == 3:
            more, at = bits >> at & 3, at + 2
            counts += [0] * more
        expect(len(counts) <= 256 and at <= 8 * len(data), "compressed weights with wrong counts")
    expect(rest == 1, "compressed weights with wrong counts")
    return accuracy, counts, (at + 7) // 8


def unpack_constant(data, size):
    expect(len(data) == 1, "a constant has one byte")
    return data * size


PLANES = {0: lambda data, size: data, LZ4: v1.unpack_lz4, CONSTANT: unpack_constant, LITERALS: unpack_literals,
          NIBBLES: unpack_nibbles}
v1_read_manifest, v1.read_manifest, v1.Rank, v1.__doc__ = v1.read_manifest, read_manifest, Rank, __doc__

if __name__ == "__main__":
    try:
        sys.exit(v1.main(sys.argv[1:]))
    except Exception as fault:
        sys.exit(f"read-v2.py: {type(fault).__name__}: {fault}")
