// A plan: the layout of one state, made once and reused while the structure does not change.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "capture/bundles.hpp"
#include "format/image.hpp"
#include "stillframe/status.hpp"

namespace stillframe::capture {

struct EntrySpec {
  Entry entry;           // name, dtype, shape; offset and bytes are set by the plan
  bool guarded = false;  // mutated only behind a fence
  bool trainable = false;  // training changes it: what stands still is worth an alarm
  std::int32_t device = kHost;  // where its bytes are: kHost, or the ordinal of a GPU
};

// Immutable, shared between the caller and the copier. A source is an entry in the order given to make().
struct Plan {
  // As format::lay_out.
  [[nodiscard]] static Result<std::shared_ptr<const Plan>> make(std::vector<EntrySpec> specs);

  // In the order of their offsets; without holes, as those of all the chunks are.
  [[nodiscard]] std::vector<Piece> pieces_of_chunk(std::uint64_t chunk) const;
  [[nodiscard]] bool has_gpu() const noexcept { return !devices.empty() && devices.back() != kHost; }
  [[nodiscard]] bool has_gpu_bytes() const noexcept;

  format::ImageLayout layout;
  std::vector<std::size_t> source_of_entry;   // per layout entry
  std::vector<std::uint64_t> source_bytes;    // per source
  std::vector<bool> source_guarded;           // per source
  std::vector<std::int32_t> source_device;    // per source
  std::vector<std::int32_t> devices;          // of the sources, each once, in order
  std::vector<std::uint64_t> scratch_offset;  // per unguarded source: where it stands in the scratch of its device
  std::uint64_t guarded_bytes = 0;
  std::uint64_t unguarded_bytes = 0;
  std::uint64_t host_scratch_bytes = 0;                      // of the unguarded sources on the host
  std::map<std::int32_t, std::uint64_t> gpu_scratch_bytes;   // by GPU, where it has unguarded ones
  std::map<std::uint64_t, std::vector<Bundle>> bundles;      // by chunk, where it has any
  std::map<std::int32_t, std::size_t> bundled_pieces;        // how many, by GPU
  // By GPU and chunk: how many pieces of the GPU stand in the chunks before it; and, last, in all.
  std::map<std::int32_t, std::vector<std::size_t>> gpu_pieces_before;
  std::map<std::int32_t, std::size_t> gathered_sources;      // how many unguarded ones with bytes, by GPU
  std::string layout_text;  // format::encode_layout

 private:
  void look_at_chunks();
};

}  // namespace stillframe::capture
