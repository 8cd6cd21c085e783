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
    SF_ASSIGN(auto files, open_rank(store, reader->path_, reader->manifest_, rank));
    reader->ranks_.push_back(std::move(files));
  }
  return reader;
}

Status CheckpointReader::read_chunk(std::size_t rank_index, std::uint64_t chunk, std::span<std::byte> raw,
                                    ReadScratch& scratch) const {
  if (rank_index >= ranks_.size() || chunk >= ranks_[rank_index].table.chunks.size()) {
    return Status(Code::invalid_argument, "the checkpoint '" + name_ + "' has no chunk " + std::to_string(chunk) +
                                              " of rank index " + std::to_string(rank_index));
  }
  const RankFiles& files = ranks_[rank_index];
  const auto read = store::read_chunk(files, chunk, raw, scratch);
  if (read.ok()) return Status();
  const auto& rank = manifest_.ranks[rank_index];
  const std::string& file = file_of_chunk(rank, files.table.chunks[chunk]);
  // To whoever restores, bytes that a failing disk withholds are as lost as wrong ones: the next older one is the
  // answer.
  const Code code = read.status().code() == Code::io_error ? Code::corrupt : read.status().code();
  return Status(code, read.status().message())
      .with_context("'" + env::join(path_, file) + "', chunk " + std::to_string(chunk) + " (" +
                    tensors_of_chunk(rank.layout, chunk) + ")");
}

void CheckpointReader::drop_cache() const noexcept {
  for (const RankFiles& rank : ranks_) rank.drop_cache();
}

}  // namespace stillframe::store
