// Chunk codecs. Input: codec id, u32 raw bytes, then the stored bytes; the rest is also encoded and decoded again, with
// runs of element widths taken from its front.
#include <algorithm>
#include <vector>

#include "codec/codec.hpp"
#include "harness.hpp"

namespace stillframe::fuzz {
namespace {

void decode_hostile(std::uint8_t codec, std::uint64_t raw_bytes, std::span<const std::byte> stored) {
  std::vector<std::byte> raw(raw_bytes);
  const MemoryBound bound(raw.size() + stored.size(), 2, 16 * 1024);
  require_words(codec::decode(codec, stored, raw));
}

std::vector<ElementRun> runs_from(Input& input, std::uint64_t raw_bytes) {
  std::vector<ElementRun> runs;
  std::uint64_t left = raw_bytes;
  while (left > 0) {
    const std::uint8_t choice = input.byte();
    auto width = static_cast<std::uint8_t>(1U << (choice % 5U));
    while (left < width) width = static_cast<std::uint8_t>(width / 2);
    const std::uint64_t elements = (choice & 0x80U) != 0 ? left / width : 1 + choice % 64U;
    const auto bytes = static_cast<std::uint32_t>(std::min<std::uint64_t>(elements, left / width) * width);
    runs.push_back({bytes, width});
    left -= bytes;
  }
  return runs;
}

void round_trip(std::span<const std::byte> rest) {
  Input input(reinterpret_cast<const std::uint8_t*>(rest.data()), rest.size());
  const std::uint64_t run_bytes = input.byte();
  const auto run_part = input.take(run_bytes);
  Input run_input(reinterpret_cast<const std::uint8_t*>(run_part.data()), run_part.size());
  const auto raw = input.rest();
  const auto runs = runs_from(run_input, raw.size());
  std::vector<std::byte> out(codec::encoded_bound(raw.size()));
  const auto encoded = codec::encode(codec::CodecId::planes_lz4, raw, runs, out);
  require(encoded.ok(), "runs that fit were refused");
  require(encoded->bytes <= std::max<std::size_t>(raw.size(), 1), "encoding made it larger");
  std::vector<std::byte> back(raw.size());
  require(codec::decode(static_cast<std::uint8_t>(encoded->codec), std::span(out).first(encoded->bytes), back).ok(),
          "what was encoded does not decode");
  require(std::equal(back.begin(), back.end(), raw.begin()), "decoding gave other bytes than were encoded");
}

}  // namespace
}  // namespace stillframe::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stillframe;
  fuzz::Input input(data, size);
  const std::uint8_t codec = input.byte();
  const std::uint64_t raw_bytes = input.number(4) % (kChunkBytes / 8);  // longer ones only cost time
  fuzz::decode_hostile(codec, raw_bytes, input.rest());
  fuzz::round_trip(input.rest());
  return 0;
}
