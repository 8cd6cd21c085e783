#include "codec/planes_lz4.hpp"

#include <lz4.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <new>

#include "base/bytes.hpp"
#include "codec/planes.hpp"

namespace stillframe::codec {
namespace {

constexpr std::size_t kRunCountBytes = 2;
constexpr std::size_t kRunHeaderBytes = 5;    // u32 raw bytes, u8 element width
constexpr std::size_t kPlaneHeaderBytes = 5;  // u8 method, u32 stored bytes
enum class Method : std::uint8_t { raw = 0, lz4 = 1 };

constexpr std::size_t kSampleBlocks = 16;
constexpr std::size_t kSampleBlockBytes = 256;
// Above it a byte is as good as random: LZ4 is not even tried.
constexpr double kRandomBits = 7.75;

std::size_t run_header_bytes(std::size_t width) noexcept { return kRunHeaderBytes + kPlaneHeaderBytes * width; }

char* as_chars(std::byte* bytes) noexcept { return reinterpret_cast<char*>(bytes); }
const char* as_chars(const std::byte* bytes) noexcept { return reinterpret_cast<const char*>(bytes); }

// Entropy of a sample of plane `plane` in bits per byte.
double sampled_entropy(std::span<const std::byte> elements, std::size_t width, std::size_t plane) noexcept {
  const std::size_t count = elements.size() / width;
  const std::size_t blocks = count <= kSampleBlocks * kSampleBlockBytes ? 1 : kSampleBlocks;
  const std::size_t block = blocks == 1 ? count : kSampleBlockBytes;
  const std::size_t stride = blocks == 1 ? 0 : (count - block) / (blocks - 1);
  std::array<std::uint32_t, 256> histogram{};
  for (std::size_t b = 0; b < blocks; ++b) {
    for (std::size_t i = 0; i < block; ++i) {
      ++histogram[std::to_integer<std::size_t>(elements[(b * stride + i) * width + plane])];
    }
  }
  const auto total = static_cast<double>(blocks * block);
  double bits = 0;
  for (const std::uint32_t hits : histogram) {
    if (hits != 0) bits -= hits * std::log2(hits / total);
  }
  return bits / total;
}

struct RunView {
  std::span<const std::byte> elements;
  std::size_t width;
};

// One plane at the start of `out`; `scratch` holds a plane. Never longer than the plane.
struct StoredPlane {
  Method method;
  std::size_t bytes;
};
StoredPlane encode_plane(const RunView& run, std::size_t plane, std::span<std::byte> out,
                         std::span<std::byte> scratch) {
  const std::size_t count = run.elements.size() / run.width;
  if (sampled_entropy(run.elements, run.width, plane) <= kRandomBits) {
    const std::byte* source = run.elements.data();
    if (run.width > 1) {
      extract_plane(run.elements, run.width, plane, scratch.first(count));
      source = scratch.data();
    }
    const std::size_t limit = count * kWorthwhilePercent / 100;
    const int packed =
        LZ4_compress_default(as_chars(source), as_chars(out.data()), static_cast<int>(count), static_cast<int>(limit));
    if (packed > 0) return {Method::lz4, static_cast<std::size_t>(packed)};
  }
  extract_plane(run.elements, run.width, plane, out.first(count));
  return {Method::raw, count};
}

bool any_plane_promising(std::span<const std::byte> raw, std::span<const ElementRun> runs) noexcept {
  std::size_t at = 0;
  for (const ElementRun& run : runs) {
    for (std::size_t plane = 0; plane < run.element_bytes; ++plane) {
      if (sampled_entropy(raw.subspan(at, run.bytes), run.element_bytes, plane) <= kRandomBits) return true;
    }
    at += run.bytes;
  }
  return false;
}

Status wrong(const char* what) {
  return {Code::corrupt, std::string("planes_lz4: ") + what + "; the chunk's stored bytes are damaged"};
}

// Walks the run headers of a payload whose lengths were all checked.
struct Header {
  std::size_t header_bytes = 0;
  std::size_t lz4_scratch_bytes = 0;  // the most that the LZ4 planes of one run unpack to
  std::size_t runs = 0;
};

Result<Header> check_header(std::span<const std::byte> stored, std::size_t raw_bytes) {
  if (stored.size() < kRunCountBytes) return wrong("no run count");
  Header header;
  header.runs = base::load_le<std::uint16_t>(stored, 0);
  std::size_t at = kRunCountBytes;
  std::uint64_t raw_total = 0;
  std::uint64_t stored_total = 0;
  for (std::size_t r = 0; r < header.runs; ++r) {
    if (stored.size() - at < kRunHeaderBytes) return wrong("a run header is cut short");
    const auto bytes = base::load_le<std::uint32_t>(stored, at);
    const auto width = std::to_integer<std::size_t>(stored[at + 4]);
    if (!is_element_width(width) || bytes == 0 || bytes % width != 0) return wrong("a run has no valid element width");
    if (stored.size() - at < run_header_bytes(width)) return wrong("a run header is cut short");
    raw_total += bytes;
    const std::size_t plane_bytes = bytes / width;
    std::size_t scratch = 0;
    for (std::size_t plane = 0; plane < width; ++plane) {
      const std::size_t field = at + kRunHeaderBytes + plane * kPlaneHeaderBytes;
      const auto method = std::to_integer<std::uint8_t>(stored[field]);
      const auto plane_stored = base::load_le<std::uint32_t>(stored, field + 1);
      stored_total += plane_stored;
      if (method == static_cast<std::uint8_t>(Method::lz4)) {
        if (plane_stored == 0 || plane_stored >= plane_bytes) return wrong("an LZ4 plane has no valid length");
        scratch += plane_bytes;
      } else if (method != static_cast<std::uint8_t>(Method::raw)) {
        return wrong("a plane has an unknown method");
      } else if (plane_stored != plane_bytes) {
        return wrong("a raw plane has no valid length");
      }
    }
    header.lz4_scratch_bytes = std::max(header.lz4_scratch_bytes, scratch);
    at += run_header_bytes(width);
  }
  if (raw_total != raw_bytes) return wrong("the runs do not add up to the chunk's length");
  if (stored_total != stored.size() - at) return wrong("the planes do not add up to the stored length");
  header.header_bytes = at;
  return header;
}

}  // namespace

std::size_t encode_planes(std::span<const std::byte> raw, std::span<const ElementRun> runs, std::span<std::byte> out) {
  const std::size_t limit = (raw.size() * kWorthwhilePercent + 99) / 100;  // the result must be smaller
  std::size_t header_bytes = kRunCountBytes;
  for (const ElementRun& run : runs) header_bytes += run_header_bytes(run.element_bytes);
  if (runs.size() > std::numeric_limits<std::uint16_t>::max() ||
      header_bytes > raw.size() * (100 - kWorthwhilePercent) / 100) {
    return 0;
  }
  if (!any_plane_promising(raw, runs)) return 0;

  base::store_le(out, 0, static_cast<std::uint16_t>(runs.size()));
  const auto scratch = out.subspan(header_bytes + raw.size());
  std::size_t field = kRunCountBytes;
  std::size_t at = header_bytes;
  std::size_t raw_at = 0;
  for (const ElementRun& run : runs) {
    base::store_le(out, field, run.bytes);
    out[field + 4] = static_cast<std::byte>(run.element_bytes);
    field += kRunHeaderBytes;
    const RunView view{raw.subspan(raw_at, run.bytes), run.element_bytes};
    for (std::size_t plane = 0; plane < view.width; ++plane) {
      const StoredPlane stored = encode_plane(view, plane, out.subspan(at), scratch);
      out[field] = static_cast<std::byte>(stored.method);
      base::store_le(out, field + 1, static_cast<std::uint32_t>(stored.bytes));
      field += kPlaneHeaderBytes;
      at += stored.bytes;
    }
    raw_at += run.bytes;
  }
  return at < limit ? at : 0;
}

Status decode_planes(std::span<const std::byte> stored, std::span<std::byte> raw) {
  SF_ASSIGN(const Header header, check_header(stored, raw.size()));
  const std::unique_ptr<std::byte[]> scratch(new (std::nothrow) std::byte[header.lz4_scratch_bytes]);
  if (!scratch) return {Code::no_space, "planes_lz4: no memory to decode a chunk"};

  std::size_t field = kRunCountBytes;
  std::size_t at = header.header_bytes;
  std::size_t raw_at = 0;
  for (std::size_t r = 0; r < header.runs; ++r) {
    const std::size_t bytes = base::load_le<std::uint32_t>(stored, field);
    const auto width = std::to_integer<std::size_t>(stored[field + 4]);
    const std::size_t plane_bytes = bytes / width;
    std::array<const std::byte*, kMaxWidth> planes{};
    std::byte* unpacked = scratch.get();
    for (std::size_t plane = 0; plane < width; ++plane) {
      const std::size_t plane_field = field + kRunHeaderBytes + plane * kPlaneHeaderBytes;
      const std::size_t plane_stored = base::load_le<std::uint32_t>(stored, plane_field + 1);
      planes[plane] = stored.data() + at;
      if (stored[plane_field] == static_cast<std::byte>(Method::lz4)) {
        const int got = LZ4_decompress_safe(as_chars(planes[plane]), as_chars(unpacked), static_cast<int>(plane_stored),
                                            static_cast<int>(plane_bytes));
        if (got < 0 || static_cast<std::size_t>(got) != plane_bytes) return wrong("an LZ4 plane does not unpack");
        planes[plane] = unpacked;
        unpacked += plane_bytes;
      }
      at += plane_stored;
    }
    merge_planes(planes.data(), width, raw.subspan(raw_at, bytes));
    raw_at += bytes;
    field += run_header_bytes(width);
  }
  return {};
}

}  // namespace stillframe::codec
