#include "codec/codec.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "codec/context.hpp"
#include "codec/planes.hpp"
#include "codec/planes_codec.hpp"
#include "codec/planes_lz4.hpp"

namespace stillframe::codec {
namespace {

// memcpy's arguments must not be null, not even for nothing.
void copy(std::span<const std::byte> from, std::span<std::byte> to) noexcept {
  if (!from.empty()) std::memcpy(to.data(), from.data(), from.size());
}

// `context` is null for a codec that needs none.
struct Codec {
  CodecId id;
  std::string_view name;
  bool needs_context;
  Status (*decode)(std::span<const std::byte> stored, std::span<std::byte> raw, Context* context);
};

Status decode_raw(std::span<const std::byte> stored, std::span<std::byte> raw, Context* /*context*/) {
  if (stored.size() != raw.size()) {
    return {Code::corrupt,
            std::to_string(stored.size()) + " stored bytes cannot be " + std::to_string(raw.size()) + " raw bytes"};
  }
  copy(stored, raw);
  return {};
}

Status decode_planes_lz4(std::span<const std::byte> stored, std::span<std::byte> raw, Context* /*context*/) {
  return decode_planes(stored, raw);
}

Status decode_chosen_planes(std::span<const std::byte> stored, std::span<std::byte> raw, Context* context) {
  return decode_by_plan(stored, raw, *context);
}

constexpr std::array kCodecs{
    Codec{CodecId::raw, "raw", false, decode_raw},
    Codec{CodecId::planes_lz4, "planes_lz4", false, decode_planes_lz4},
    Codec{CodecId::planes, "planes", true, decode_chosen_planes},
};

constexpr std::array<std::string_view, 3> kLevelNames{"raw", "fast", "default"};  // in the order of Level

const Codec* find_codec(std::uint8_t id) noexcept {
  const auto* const found = std::find_if(kCodecs.begin(), kCodecs.end(),
                                         [id](const Codec& one) { return static_cast<std::uint8_t>(one.id) == id; });
  return found == kCodecs.end() ? nullptr : found;
}

Result<const Codec*> codec_for(std::uint8_t id, std::size_t raw_bytes) {
  if (raw_bytes > kChunkBytes) return Status(Code::invalid_argument, "a chunk is at most 1 MiB");
  if (const Codec* const codec = find_codec(id)) return codec;
  return Status(Code::unsupported,
                "codec " + std::to_string(id) + " is not known to this build; a later one wrote this chunk");
}

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

Status check_encode(std::span<const std::byte> raw, std::span<const ElementRun> runs, std::span<std::byte> out) {
  if (raw.size() > kChunkBytes || out.size() < encoded_bound(raw.size())) {
    return {Code::invalid_argument,
            "a chunk of " + std::to_string(raw.size()) + " bytes cannot be encoded into " + std::to_string(out.size())};
  }
  return check_runs(raw.size(), runs);
}

Encoded store_raw(std::span<const std::byte> raw, std::span<std::byte> out) noexcept {
  copy(raw, out);
  return {CodecId::raw, raw.size()};
}

}  // namespace

std::string_view codec_name(std::uint8_t id) noexcept {
  const Codec* const codec = find_codec(id);
  return codec == nullptr ? "unknown" : codec->name;
}

std::string_view level_name(Level level) noexcept {
  const auto index = static_cast<std::size_t>(level);
  return index < kLevelNames.size() ? kLevelNames[index] : "unknown";
}

std::optional<Level> level_from_name(std::string_view name) noexcept {
  const auto* const found = std::find(kLevelNames.begin(), kLevelNames.end(), name);
  if (found == kLevelNames.end()) return std::nullopt;
  return static_cast<Level>(found - kLevelNames.begin());
}

// The raw bytes, run headers (at most 3 % of them, else the chunk stays raw) and one plane of at least two as scratch.
std::size_t encoded_bound(std::size_t raw_bytes) noexcept { return raw_bytes + raw_bytes / 2 + raw_bytes / 16 + 64; }

Result<Encoded> encode(CodecId wanted, std::span<const std::byte> raw, std::span<const ElementRun> runs,
                       std::span<std::byte> out) {
  SF_TRY(check_encode(raw, runs, out));
  switch (wanted) {
    case CodecId::raw:
      break;
    case CodecId::planes_lz4:
      if (const std::size_t bytes = encode_planes(raw, runs, out); bytes != 0) return Encoded{wanted, bytes};
      break;
    default:
      return Status(Code::unsupported, "codec " + std::to_string(static_cast<unsigned>(wanted)) +
                                           " is not one that encodes without a level");
  }
  return store_raw(raw, out);
}

Result<Encoded> encode(Level level, std::span<const std::byte> raw, std::span<const ElementRun> runs,
                       std::span<std::byte> out, Decisions& decisions, Context& context) {
  SF_TRY(check_encode(raw, runs, out));
  if (level != Level::raw) {
    const std::size_t bytes = encode_by_plan(level, raw, runs, out, decisions, context);
    if (bytes != 0) return Encoded{CodecId::planes, bytes};
  }
  return store_raw(raw, out);
}

Status decode(std::uint8_t codec, std::span<const std::byte> stored, std::span<std::byte> raw) {
  std::optional<Context> none;
  return decode(codec, stored, raw, none);
}

Status decode(std::uint8_t codec, std::span<const std::byte> stored, std::span<std::byte> raw, Context& context) {
  SF_ASSIGN(const Codec* const found, codec_for(codec, raw.size()));
  return found->decode(stored, raw, &context);
}

Status decode(std::uint8_t codec, std::span<const std::byte> stored, std::span<std::byte> raw,
              std::optional<Context>& context) {
  SF_ASSIGN(const Codec* const found, codec_for(codec, raw.size()));
  if (!found->needs_context) return found->decode(stored, raw, nullptr);
  if (!context) {
    SF_ASSIGN(context, Context::create());
  }
  return found->decode(stored, raw, &*context);
}

Result<std::span<const std::byte>> decode_within(std::uint8_t codec, std::span<const std::byte> stored,
                                                 std::size_t raw_bytes, Context& context) {
  SF_ASSIGN(const Codec* const found, codec_for(codec, raw_bytes));
  if (found->id == CodecId::raw && stored.size() == raw_bytes) return stored;
  const std::span<std::byte> raw = context.second().first(raw_bytes);
  SF_TRY(found->decode(stored, raw, &context));
  return std::span<const std::byte>(raw);
}

}  // namespace stillframe::codec
