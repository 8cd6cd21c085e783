// A plan: the layout of one state, made once and reused while the structure does not change.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "format/image.hpp"
#include "stillframe/status.hpp"

namespace stillframe::capture {

struct EntrySpec {
  Entry entry;           // name, dtype, shape; offset and bytes are set by the plan
  bool guarded = false;  // mutated only behind a fence
  bool trainable = false;  // training changes it: what stands still is worth an alarm
};

// A run of bytes to copy: `bytes` from `offset` of source `source` to `chunk_offset` of the chunk.
struct Piece {
  std::size_t source = 0;
  std::uint64_t offset = 0;
  std::uint32_t chunk_offset = 0;
  std::uint32_t bytes = 0;
};

// Immutable, shared between the caller and the copier. A source is an entry in the order given to make().
struct Plan {
  // As format::lay_out.
  [[nodiscard]] static Result<std::shared_ptr<const Plan>> make(std::vector<EntrySpec> specs);

  [[nodiscard]] std::vector<Piece> pieces_of_chunk(std::uint64_t chunk) const;

  format::ImageLayout layout;
  std::vector<std::size_t> source_of_entry;   // per layout entry
  std::vector<std::uint64_t> source_bytes;    // per source
  std::vector<bool> source_guarded;           // per source
  std::vector<std::uint64_t> scratch_offset;  // per unguarded source: where it stands in the scratch buffer
  std::uint64_t guarded_bytes = 0;
  std::uint64_t unguarded_bytes = 0;
  std::string layout_text;  // format::encode_layout
};

}  // namespace stillframe::capture
