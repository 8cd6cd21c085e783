// Words and sizes shared by every layer; docs/format.md gives the bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "stillframe/export.hpp"

namespace stillframe {

// A chunk is 1 MiB of the image: the unit of lease, checksum, codec and I/O.
inline constexpr std::uint64_t kChunkBytes = 1ULL << 20;
// A segment is 64 chunks of the arena: the unit of growth and mapping. The last segment of an arena may be short.
inline constexpr std::uint64_t kSegmentChunks = 64;
inline constexpr std::uint64_t kSegmentBytes = kSegmentChunks * kChunkBytes;

// Where bytes of a state are: the host, or the ordinal of a GPU from 0.
inline constexpr std::int32_t kHost = -1;

// Limits on what a plan or a file may claim; each is checked before memory is taken.
inline constexpr std::uint64_t kMaxEntries = 4'000'000;
inline constexpr std::uint64_t kMaxEntryNameBytes = 64 * 1024;
inline constexpr std::uint32_t kMaxTensorRank = 64;
inline constexpr std::uint64_t kMaxManifestBytes = 100'000'000;
inline constexpr std::uint64_t kMaxImageBytes = 1ULL << 47;
inline constexpr std::size_t kMaxRunNameBytes = 64;

// Names follow safetensors where it has the dtype.
enum class DType : std::uint8_t {
  boolean, u8, i8, f8_e5m2, f8_e4m3fn, f8_e8m0, f8_e4m3fnuz, f8_e5m2fnuz,
  i16, u16, f16, bf16,
  i32, u32, f32,
  c64, f64, i64, u64,
  c128,
};

// "F32", "BF16", …; stable, written to files.
[[nodiscard]] STILLFRAME_EXPORT std::string_view dtype_name(DType dtype) noexcept;
[[nodiscard]] STILLFRAME_EXPORT std::optional<DType> dtype_from_name(std::string_view name) noexcept;
[[nodiscard]] STILLFRAME_EXPORT std::uint32_t dtype_bytes(DType dtype) noexcept;

// One named range of the image: `shape` elements of `dtype`, C order, contiguous. Several tensors of the state may view
// one entry (ties, views): the state tree says how.
struct Entry {
  std::string name;
  DType dtype = DType::u8;
  std::vector<std::uint64_t> shape;
  std::uint64_t offset = 0;  // in the image, bytes
  std::uint64_t bytes = 0;   // product(shape) * dtype_bytes(dtype)

  friend bool operator==(const Entry&, const Entry&) = default;
};

// What a snapshot says about the training: docs/alarms.md gives the kinds. `text` is for people.
struct Alarm {
  std::string kind;
  std::string text;
  friend bool operator==(const Alarm&, const Alarm&) = default;
};

// A range of a chunk whose elements have one width. The runs of a chunk are in order and add up to its length; a run's
// length is a multiple of its width.
struct ElementRun {
  std::uint32_t bytes = 0;
  std::uint8_t element_bytes = 1;  // 1, 2, 4, 8 or 16
  friend bool operator==(const ElementRun&, const ElementRun&) = default;
};

}  // namespace stillframe
