#include "codec/codec.hpp"

#include <cstring>
#include <string>

#include "codec/planes.hpp"
#include "codec/planes_lz4.hpp"

namespace stillframe::codec {
namespace {

Status check_runs(std::size_t raw_bytes, std::span<const ElementRun> runs) {
  std::uint64_t total = 0;
  for (const ElementRun& run : runs) {
    if (!is_element_width(run.element_bytes) || run.bytes == 0 || run.bytes % run.element_bytes != 0) {
      return {Code::invalid_argument, "a run of " + std::to_string(run.bytes) + " bytes does not hold elements of " +
                                          std::to_string(run.element_bytes) + " bytes"};
    }
    total += run.bytes;
  }
  if (total == raw_bytes) return {};
  return {Code::invalid_argument,
          "the runs add up to " + std::to_string(total) + " bytes, the chunk has " + std::to_string(raw_bytes)};
}

// memcpy's arguments must not be null, not even for nothing.
void copy(std::span<const std::byte> from, std::span<std::byte> to) noexcept {
  if (!from.empty()) std::memcpy(to.data(), from.data(), from.size());
}

}  // namespace

std::string_view codec_name(std::uint8_t id) noexcept {
  switch (static_cast<CodecId>(id)) {
    case CodecId::raw:
      return "raw";
    case CodecId::planes_lz4:
      return "planes_lz4";
  }
  return "unknown";
}

// The raw bytes, run headers (at most 3 % of them, else the chunk stays raw) and one plane of at least two as scratch.
std::size_t encoded_bound(std::size_t raw_bytes) noexcept { return raw_bytes + raw_bytes / 2 + raw_bytes / 16 + 64; }

Result<Encoded> encode(CodecId wanted, std::span<const std::byte> raw, std::span<const ElementRun> runs,
                       std::span<std::byte> out) {
  if (raw.size() > kChunkBytes || out.size() < encoded_bound(raw.size())) {
    return Status(Code::invalid_argument, "a chunk of " + std::to_string(raw.size()) +
                                              " bytes cannot be encoded into " + std::to_string(out.size()));
  }
  SF_TRY(check_runs(raw.size(), runs));
  if (wanted == CodecId::planes_lz4) {
    if (const std::size_t bytes = encode_planes(raw, runs, out); bytes != 0) return Encoded{wanted, bytes};
  } else if (wanted != CodecId::raw) {
    return Status(Code::unsupported, "codec " + std::to_string(static_cast<unsigned>(wanted)) + " is not known");
  }
  copy(raw, out);
  return Encoded{CodecId::raw, raw.size()};
}

Status decode(std::uint8_t codec, std::span<const std::byte> stored, std::span<std::byte> raw) {
  if (raw.size() > kChunkBytes) return {Code::invalid_argument, "a chunk is at most 1 MiB"};
  switch (static_cast<CodecId>(codec)) {
    case CodecId::raw:
      if (stored.size() != raw.size()) {
        return {Code::corrupt,
                std::to_string(stored.size()) + " stored bytes cannot be " + std::to_string(raw.size()) + " raw bytes"};
      }
      copy(stored, raw);
      return {};
    case CodecId::planes_lz4:
      return decode_planes(stored, raw);
  }
  return {Code::unsupported,
          "codec " + std::to_string(codec) + " is not known to this build; a later one wrote this chunk"};
}

}  // namespace stillframe::codec
