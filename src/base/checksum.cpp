#include "base/checksum.hpp"

#include <isa-l/crc.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <new>

namespace stillframe::base {
namespace {

constexpr std::string_view kHexDigits = "0123456789abcdef";

Hash128 canonical(XXH128_hash_t value) noexcept {
  XXH128_canonical_t in_order;
  XXH128_canonicalFromHash(&in_order, value);
  Hash128 hash;
  std::memcpy(hash.bytes.data(), in_order.digest, hash.bytes.size());
  return hash;
}

std::uint32_t crc32_from(std::uint32_t crc, std::span<const std::byte> data) noexcept {
  return crc32_gzip_refl(crc, reinterpret_cast<const unsigned char*>(data.data()), data.size());
}

}  // namespace

std::string Hash128::hex() const {
  std::string text;
  text.reserve(2 * bytes.size());
  for (const std::uint8_t byte : bytes) {
    text.push_back(kHexDigits[byte >> 4U]);
    text.push_back(kHexDigits[byte & 15U]);
  }
  return text;
}

std::optional<Hash128> Hash128::from_hex(std::string_view text) noexcept {
  Hash128 hash;
  if (text.size() != 2 * hash.bytes.size()) return std::nullopt;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::size_t digit = kHexDigits.find(text[i]);
    if (digit == std::string_view::npos) return std::nullopt;
    const unsigned shifted = static_cast<unsigned>(hash.bytes[i / 2]) << 4U;
    hash.bytes[i / 2] = static_cast<std::uint8_t>(shifted | static_cast<unsigned>(digit));
  }
  return hash;
}

Hash128 xxh128(std::span<const std::byte> data) noexcept { return canonical(XXH3_128bits(data.data(), data.size())); }

std::uint32_t crc32(std::span<const std::byte> data) noexcept { return crc32_from(0, data); }

struct PiecewiseHash::State {
  State() : xxh3(XXH3_createState()) {
    if (xxh3 == nullptr) throw std::bad_alloc();
    XXH3_128bits_reset(xxh3);
  }
  ~State() { XXH3_freeState(xxh3); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  XXH3_state_t* const xxh3;
};

PiecewiseHash::PiecewiseHash() : state_(std::make_unique<State>()) {}
PiecewiseHash::~PiecewiseHash() = default;

void PiecewiseHash::add(std::span<const std::byte> piece) noexcept {
  if (piece.empty()) return;
  XXH3_128bits_update(state_->xxh3, piece.data(), piece.size());
  crc32_ = crc32_from(crc32_, piece);
}

Hash128 PiecewiseHash::xxh128() const noexcept { return canonical(XXH3_128bits_digest(state_->xxh3)); }

std::uint32_t crc32c(std::span<const std::byte> data) noexcept {
  // crc32_iscsi takes int lengths and a non-const pointer, and leaves both inversions of RFC 3720 to the caller.
  std::uint32_t crc = 0xffffffffU;
  constexpr std::size_t kStep = 1U << 30U;
  while (!data.empty()) {
    const std::span<const std::byte> piece = data.first(std::min(data.size(), kStep));
    auto* bytes = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(piece.data()));
    crc = crc32_iscsi(bytes, static_cast<int>(piece.size()), crc);
    data = data.subspan(piece.size());
  }
  return ~crc;
}

}  // namespace stillframe::base
