// Chunk codecs. Input: codec id, u32 raw bytes, then the stored bytes; the rest is also encoded and decoded again by
// every codec, with runs of element widths and remembered decisions taken from its front.
#include <algorithm>
#include <vector>

#include "codec/codec.hpp"
#include "codec/context.hpp"
#include "harness.hpp"

namespace stillframe::fuzz {
namespace {

codec::Context& context() {
  static codec::Context made = codec::Context::create().value();
  return made;
}

// Outside of the context and within: the same bytes, the same answer, and no memory beside the context's.
void decode_hostile(std::uint8_t codec, std::uint64_t raw_bytes, std::span<const std::byte> stored) {
  std::vector<std::byte> raw(raw_bytes);
  codec::Context& made = context();
  const MemoryBound bound(raw.size() + stored.size(), 2, 16 * 1024);
  const Status decoded = codec::decode(codec, stored, raw, made);
  require_words(decoded);
  const auto within = codec::decode_within(codec, stored, raw.size(), made);
  require(within.status().code() == decoded.code(), "within the context it says something else");
  if (decoded.ok()) require(std::ranges::equal(*within, raw), "within the context it gives other bytes");
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

// Any at all: they must never cost more than speed and size.
codec::Decisions decisions_from(Input& input, std::span<const ElementRun> runs) {
  codec::Decisions decisions;
  decisions.level = static_cast<codec::Level>(1 + input.byte() % 2U);
  decisions.known_runs = static_cast<std::uint8_t>(std::min(runs.size(), codec::Decisions::kRuns));
  decisions.uses = input.byte();
  for (std::size_t r = 0; r < decisions.runs.size(); ++r) {
    decisions.runs[r].element_bytes = r < runs.size() ? runs[r].element_bytes : input.byte();
    decisions.runs[r].rotated = input.byte() % 2U != 0;
    for (std::uint8_t& method : decisions.runs[r].methods) method = input.byte() % 24U;
  }
  return decisions;
}

void check(const Result<codec::Encoded>& encoded, std::span<const std::byte> out, std::span<const std::byte> raw) {
  require(encoded.ok(), "runs that fit were refused");
  require(encoded->bytes <= std::max<std::size_t>(raw.size(), 1), "encoding made it larger");
  std::vector<std::byte> back(raw.size());
  const auto codec = static_cast<std::uint8_t>(encoded->codec);
  require(codec::decode(codec, out.first(encoded->bytes), back, context()).ok(), "what was encoded does not decode");
  require(std::equal(back.begin(), back.end(), raw.begin()), "decoding gave other bytes than were encoded");
}

void round_trip(std::span<const std::byte> rest) {
  Input input(reinterpret_cast<const std::uint8_t*>(rest.data()), rest.size());
  const std::uint64_t run_bytes = input.byte();
  const auto run_part = input.take(run_bytes);
  Input run_input(reinterpret_cast<const std::uint8_t*>(run_part.data()), run_part.size());
  const auto whole = input.rest();
  const auto raw = whole.first(std::min<std::size_t>(whole.size(), kChunkBytes));
  const auto runs = runs_from(run_input, raw.size());
  std::vector<std::byte> out(codec::encoded_bound(raw.size()));
  check(codec::encode(codec::CodecId::planes_lz4, raw, runs, out), out, raw);
  for (const auto level : {codec::Level::raw, codec::Level::fast, codec::Level::standard}) {
    codec::Decisions none;
    check(codec::encode(level, raw, runs, out, none, context()), out, raw);
  }
  codec::Decisions decisions = decisions_from(run_input, runs);
  check(codec::encode(decisions.level, raw, runs, out, decisions, context()), out, raw);
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
