#include "store/reader.hpp"

namespace stillframe::store {

CheckpointReader::CheckpointReader(OpenedManifest opened)
    : path_(std::move(opened.path)),
      name_(std::move(opened.name)),
      manifest_text_(std::move(opened.text)),
      manifest_(std::move(opened.manifest)),
      lock_(std::move(opened.lock)) {}

CheckpointReader::~CheckpointReader() = default;

Result<std::unique_ptr<CheckpointReader>> CheckpointReader::open(const Store& store, const std::string& name) {
  SF_ASSIGN(auto opened, open_manifest(store, name, ReadFrom::cache));
  return open(store, std::move(opened));
}

Result<std::unique_ptr<CheckpointReader>> CheckpointReader::open(const Store& store, OpenedManifest opened) {
  std::unique_ptr<CheckpointReader> reader(new CheckpointReader(std::move(opened)));
  for (const auto& rank : reader->manifest_.ranks) {
    Rank files;
    SF_ASSIGN(files.table, read_table(store.env(), reader->path_, rank, ReadFrom::cache));
    SF_ASSIGN(files.data, open_data(store.env(), reader->path_, rank));
    SF_TRY(check_data_size(*files.data, reader->path_, rank));
    reader->ranks_.push_back(std::move(files));
  }
  return reader;
}

Status CheckpointReader::read_chunk(std::size_t rank_index, std::uint64_t chunk, std::span<std::byte> raw,
                                    std::vector<std::byte>& scratch) const {
  if (rank_index >= ranks_.size() || chunk >= ranks_[rank_index].table.chunks.size()) {
    return Status(Code::invalid_argument, "the checkpoint '" + name_ + "' has no chunk " + std::to_string(chunk) +
                                              " of rank index " + std::to_string(rank_index));
  }
  const Rank& rank = ranks_[rank_index];
  const Status read = read_record(*rank.data, rank.table.chunks[chunk], raw, scratch);
  if (read.ok()) return read;
  const auto& written = manifest_.ranks[rank_index];
  return read.with_context("'" + env::join(path_, written.data.file) + "', chunk " + std::to_string(chunk) + " (" +
                           tensors_of_chunk(written.layout, chunk) + ")");
}

void CheckpointReader::drop_cache() const noexcept {
  for (const Rank& rank : ranks_) rank.data->drop_cache();
}

}  // namespace stillframe::store
