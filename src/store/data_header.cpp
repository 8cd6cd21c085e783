#include "store/data_header.hpp"

#include "base/bytes.hpp"
#include "format/safetensors.hpp"

namespace stillframe::store {
namespace {

// "format" is what other libraries ask for before they read the tensors as PyTorch's.
format::SafetensorsMetadata metadata_of(const std::string& run, std::int64_t step) {
  return {{"format", "pt"}, {"stillframe.run", run}, {"stillframe.step", std::to_string(step)}};
}

}  // namespace

Result<std::string> make_data_header(const std::string& run, std::int64_t step, const format::ImageLayout& layout) {
  return format::safetensors_prefix(layout.entries, metadata_of(run, step));
}

Status check_data_header(const env::File& data, const std::string& path, const format::ManifestHead& head,
                         const format::RankManifest& rank) {
  if (rank.data.start == 0) return Status();
  const auto damaged = [&](const std::string& what) {
    return Status(Code::corrupt, "the header of '" + path + "' " + what + ", though its tensors may be whole");
  };
  std::string found(rank.data.start, '\0');
  SF_ASSIGN(const std::size_t got, data.read_at(0, std::as_writable_bytes(std::span(found))));
  if (got != found.size()) return damaged("is cut off");
  SF_ASSIGN(const std::string expected, make_data_header(head.run, head.step, rank.layout));
  if (found == expected) return Status();
  // Another writer may word it otherwise; then it must say the same.
  const auto read = format::read_safetensors_header(base::as_bytes(found), rank.data.bytes);
  if (!read.ok()) return damaged("is damaged: " + read.status().message());
  SF_ASSIGN(const auto meant,
            format::read_safetensors_header(base::as_bytes(expected), expected.size() + rank.layout.bytes));
  if (read->data_start != rank.data.start) return damaged("ends elsewhere than the manifest says");
  if (read->entries != meant.entries) return damaged("describes other tensors than the manifest");
  if (read->metadata != meant.metadata) return damaged("is of another run or step than the manifest");
  return Status();
}

}  // namespace stillframe::store
