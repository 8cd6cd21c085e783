#include "interop/safetensors.hpp"

#include "base/bytes.hpp"

namespace stillframe::interop {

Result<std::uint64_t> write_safetensors(const store::CheckpointReader& reader, std::size_t rank_index,
                                        const format::SafetensorsMetadata& metadata, env::File& file,
                                        const std::function<void(std::uint64_t)>& progress) {
  const format::ImageLayout& layout = reader.manifest().ranks[rank_index].layout;
  SF_ASSIGN(const std::string prefix, format::safetensors_prefix(layout.entries, metadata));
  SF_TRY(file.write_at(0, base::as_bytes(prefix)));
  std::vector<std::byte> raw(kChunkBytes);
  store::ReadScratch scratch;
  std::uint64_t written = 0;
  for (std::uint64_t chunk = 0; chunk < layout.chunk_count(); ++chunk) {
    const auto part = std::span(raw).first(layout.chunk_length(chunk));
    SF_TRY(reader.read_chunk(rank_index, chunk, part, scratch));
    SF_TRY(file.write_at(prefix.size() + written, part));
    written += part.size();
    if (progress) progress(written);
  }
  SF_TRY(file.sync());
  return prefix.size() + written;
}

}  // namespace stillframe::interop
