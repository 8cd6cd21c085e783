// Wrote tests/golden/v2/chunks, whose README says when it is used again: make_golden_chunks <directory>
#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "codec/codec.hpp"
#include "codec/context.hpp"
#include "support/golden_parts.hpp"
#include "unit/codec/samples.hpp"

namespace stillframe::test {
namespace {

using codec::Bytes;
using codec::Level;
using codec::Random;

// A few values, the higher the rarer: what Huffman codes are for. More than two blocks of a frame.
Bytes rare_bytes() {
  Random random(1);
  Bytes bytes(280'001);
  for (std::byte& byte : bytes) {
    unsigned value = 40;
    while (value < 60 && random.below(5) == 0) ++value;
    byte = static_cast<std::byte>(value);
  }
  return bytes;
}

// A block of a frame that holds one value alone, between two others.
Bytes rare_bytes_with_an_equal_block() {
  Bytes bytes = rare_bytes();
  std::fill(bytes.begin() + 131'072, bytes.begin() + 262'144, std::byte{40});
  return bytes;
}

// Trees of every form: many values of very different weight, two values, and streams so short that there is one instead
// of four.
Bytes wide_bytes(std::size_t count) {
  Random random(6);
  Bytes bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.below(1 + random.below(1 + random.below(250))));
  return bytes;
}
Bytes two_values(std::size_t count) {
  Random random(7);
  Bytes bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.below(3) / 2);
  return bytes;
}

// Each a walk whose steps are few: long equal ones, rare ones, and any of fifteen.
Bytes walk(std::size_t count, unsigned equal, unsigned steps) {
  Random random(8);
  Bytes bytes(count);
  unsigned value = 7;
  unsigned step = 1;
  for (std::byte& byte : bytes) {
    if (random.below(equal) == 0) step = random.below(steps);
    value += step;
    byte = static_cast<std::byte>(value);
  }
  return bytes;
}

struct Chunk {
  const char* name;
  Level level;
  Bytes raw;
  std::vector<ElementRun> runs;
  codec::Decisions decisions = {};  // methods that no sample chooses for these bytes are asked for
};

// The methods that store differences: LZ4 17, literals 19, nibbles 20.
Chunk differences() {
  Chunk chunk{"differences", Level::standard, {}, {{6000, 1}, {6000, 1}, {6001, 1}}};
  for (const Bytes& part : {walk(6000, 300, 200), walk(6000, 3, 9), walk(6001, 1, 15)}) {
    chunk.raw.insert(chunk.raw.end(), part.begin(), part.end());
  }
  chunk.decisions.level = chunk.level;
  chunk.decisions.known_runs = 3;
  for (std::size_t run = 0; run < 3; ++run) {
    chunk.decisions.runs[run].element_bytes = 1;
    chunk.decisions.runs[run].methods[0] = std::array<std::uint8_t, 3>{17, 19, 20}[run];
  }
  return chunk;
}

std::vector<Chunk> chunks() {
  std::vector<Chunk> all;
  all.push_back({"literals", Level::standard, rare_bytes(), {{280'001, 1}}});
  all.push_back({"weights", Level::standard, codec::weights(20'000, 2), {{20'000, 4}}});
  all.push_back({"moments", Level::standard, codec::moments(24'004, 3), {{24'004, 4}}});
  all.push_back({"nibbles", Level::fast, codec::weights(12'012, 4), {{12'012, 4}}});
  all.push_back({"equal_block", Level::standard, rare_bytes_with_an_equal_block(), {{280'001, 1}}});
  Chunk trees{"trees", Level::standard, {}, {{12'000, 1}, {4000, 1}, {200, 1}, {90, 1}}};
  for (const Bytes& part : {wide_bytes(12'000), two_values(4000), wide_bytes(200), two_values(90)}) {
    trees.raw.insert(trees.raw.end(), part.begin(), part.end());
  }
  all.push_back(std::move(trees));
  Chunk widths{"widths", Level::standard, {}, {}};
  for (const std::uint8_t width :
       {std::uint8_t{1}, std::uint8_t{2}, std::uint8_t{4}, std::uint8_t{8}, std::uint8_t{16}}) {
    const Bytes part = codec::weights(8000, width);
    widths.raw.insert(widths.raw.end(), part.begin(), part.end());
    widths.runs.push_back({8000, width});
  }
  widths.raw.insert(widths.raw.end(), 8000, std::byte{3});  // constant planes
  widths.runs.push_back({8000, 2});
  for (std::size_t i = 0; i < 8000; ++i) widths.raw.push_back(i % 3000 < 2900 ? std::byte{0} : widths.raw[i]);  // runs
  widths.runs.push_back({8000, 1});
  all.push_back(std::move(widths));
  all.push_back(differences());
  return all;
}

int write(const std::string& directory) {
  auto context = codec::Context::create();
  std::ofstream expected(directory + "/expected.txt");
  for (const Chunk& chunk : chunks()) {
    Bytes out(codec::encoded_bound(chunk.raw.size()));
    codec::Decisions decisions = chunk.decisions;
    const auto encoded = codec::encode(chunk.level, chunk.raw, chunk.runs, out, decisions, *context);
    if (!encoded.ok() || encoded->codec != codec::CodecId::planes) return 1;
    std::ofstream(directory + "/" + chunk.name + ".stored", std::ios::binary)
        .write(reinterpret_cast<const char*>(out.data()), static_cast<std::streamsize>(encoded->bytes));
    expected << chunk.name << ' ' << chunk.raw.size() << ' ' << sha256_hex(chunk.raw) << '\n';
  }
  return expected.flush() ? 0 : 1;
}

}  // namespace
}  // namespace stillframe::test

int main(int argc, char** argv) {
  if (argc == 2) return stillframe::test::write(argv[1]);
  std::fprintf(stderr, "usage: make_golden_chunks DIRECTORY\n");
  return 2;
}
