#include "store/checkpoint_files.hpp"

#include "base/bytes.hpp"
#include "base/checksum.hpp"
#include "codec/codec.hpp"

namespace stillframe::store {
namespace {

constexpr std::uint64_t kMarkLimitBytes = 64 * 1024;

Status damaged(const std::string& path, const std::string& what) {
  return Status(Code::corrupt, "'" + path + "' " + what);
}

// A file that the directory or the manifest promises: its absence is damage of the checkpoint.
Status absence_is_damage(const Status& status, const std::string& path) {
  return status.code() == Code::not_found ? damaged(path, "is missing") : status;
}

Result<std::string> read_promised(env::Env& env, const std::string& path, std::uint64_t limit_bytes, ReadFrom from) {
  if (from == ReadFrom::device) {
    const auto file = env.open(path);
    if (!file.ok()) return absence_is_damage(file.status(), path);
    (*file)->drop_cache();
  }
  auto content = env::read_whole(env, path, limit_bytes);
  if (!content.ok()) return absence_is_damage(content.status(), path);
  return content;
}

// The manifest was sealed for one sequence, step and time; a directory of another name holds a stale or swapped copy.
Status check_belongs(const format::Manifest& manifest, const format::CheckpointName& name, const std::string& path) {
  if (manifest.sequence == name.sequence && manifest.step == name.step) return Status();
  return damaged(path, "belongs to another checkpoint: it says sequence " + std::to_string(manifest.sequence) +
                           ", step " + std::to_string(manifest.step) +
                           "; the directory was renamed or the file was copied here");
}

}  // namespace

Result<OpenedManifest> open_manifest(const Store& store, const std::string& name, ReadFrom from) {
  const auto parsed = format::parse_checkpoint_name(name);
  if (!parsed) return Status(Code::not_found, "'" + name + "' is not the name of a checkpoint");
  const Status gone(Code::not_found, "there is no checkpoint '" + name + "' in the store '" + store.path() + "'");
  env::Env& env = store.env();

  OpenedManifest opened{name, env::join(store.path(), name), nullptr, {}, {}};
  SF_ASSIGN(const bool there, env.exists(opened.path));
  if (!there) return gone;
  const std::string path = env::join(opened.path, format::kManifestFile);
  auto lock = env.try_lock(path, env::LockMode::shared);
  if (!lock.ok() && lock.status().code() == Code::busy) return gone.with_context("being removed at this moment");
  if (lock.ok()) {
    opened.lock = *std::move(lock);
  } else if (lock.status().code() != Code::not_found) {
    return lock.status();
  }
  // Removal renames before it unlinks: with the lock held, either the name still stands or the checkpoint is gone.
  SF_ASSIGN(const bool still_there, env.exists(opened.path));
  if (!still_there) return gone;

  SF_ASSIGN(opened.text, read_promised(env, path, kMaxManifestBytes, from));
  auto manifest = format::decode_manifest(opened.text);
  if (!manifest.ok()) return manifest.status().with_context("'" + path + "'");
  SF_TRY(check_belongs(*manifest, *parsed, path));
  opened.manifest = *std::move(manifest);
  return opened;
}

Result<format::ChunkTable> read_table(env::Env& env, const std::string& directory, const format::RankManifest& rank,
                                      ReadFrom from) {
  const std::string path = env::join(directory, rank.table.file);
  SF_ASSIGN(const std::string content, read_promised(env, path, rank.table.bytes, from));
  const auto bytes = base::as_bytes(content);
  if (bytes.size() != rank.table.bytes) {
    return damaged(
        path, "has " + std::to_string(bytes.size()) + " bytes, the manifest says " + std::to_string(rank.table.bytes));
  }
  if (base::xxh128(bytes) != rank.table_hash || base::crc32(bytes) != rank.table_crc32) {
    return damaged(path, "does not match the hash that the manifest holds");
  }
  format::TableBounds bounds{rank.data.start, rank.data.bytes, {}};
  for (const format::SharedFile& shared : rank.shared) bounds.shared_bytes.push_back(shared.bytes);
  auto table = format::decode_table(bytes, bounds);
  if (!table.ok()) return table.status().with_context("'" + path + "'");
  if (table->image_bytes != rank.layout.bytes)
    return damaged(path, "is for an image of another size than the manifest's");
  return table;
}

Result<std::unique_ptr<env::File>> open_data(env::Env& env, const std::string& directory,
                                             const format::RankManifest& rank) {
  const std::string path = env::join(directory, rank.data.file);
  auto data = env.open(path);
  if (!data.ok()) return absence_is_damage(data.status(), path);
  return data;
}

Status check_data_size(const env::File& data, const std::string& directory, const format::RankManifest& rank) {
  SF_ASSIGN(const std::uint64_t bytes, data.size());
  if (bytes == rank.data.bytes) return Status();
  return damaged(env::join(directory, rank.data.file),
                 std::string(bytes < rank.data.bytes ? "is truncated: it has " : "has grown: it has ") +
                     std::to_string(bytes) + " bytes, the manifest says " + std::to_string(rank.data.bytes));
}

Status read_record(const env::File& data, const format::ChunkRecord& record, std::span<std::byte> raw,
                   std::vector<std::byte>& scratch) {
  if (raw.size() != record.raw_bytes) {
    return Status(Code::invalid_argument, "the buffer has " + std::to_string(raw.size()) + " bytes, the chunk " +
                                              std::to_string(record.raw_bytes));
  }
  if (record.location != format::LocationKind::own_bytes) {
    return Status(Code::unsupported, "the chunk is not stored in the data file of its rank");
  }
  // Raw chunks need no second buffer: they are read to where they belong and checked there.
  const bool in_place =
      record.codec == static_cast<std::uint8_t>(codec::CodecId::raw) && record.stored_bytes == raw.size();
  if (!in_place && scratch.size() < record.stored_bytes) scratch.resize(record.stored_bytes);
  const std::span<std::byte> stored = in_place ? raw : std::span(scratch).first(record.stored_bytes);
  SF_ASSIGN(const std::size_t got, data.read_at(record.offset, stored));
  if (got != stored.size()) {
    return Status(Code::corrupt, "the file ends inside the chunk (" + std::to_string(got) + " of " +
                                     std::to_string(stored.size()) + " bytes are there)");
  }
  if (base::crc32c(stored) != record.stored_crc32c) {
    return Status(Code::corrupt, "the stored bytes do not match their CRC-32C");
  }
  if (!in_place) SF_TRY(codec::decode(record.codec, stored, raw));
  if (base::xxh128(raw) != record.raw_hash) return Status(Code::corrupt, "the content does not match its XXH3-128");
  if (base::crc32(raw) != record.raw_crc32) return Status(Code::corrupt, "the content does not match its CRC-32");
  return Status();
}

std::string tensors_of_chunk(const format::ImageLayout& layout, std::uint64_t chunk) {
  constexpr std::size_t kNamed = 4;
  const auto range = format::entries_of_chunk(layout, chunk);
  std::string text;
  for (std::size_t i = range.first; i < range.last && i < range.first + kNamed; ++i) {
    text += (text.empty() ? "" : ", ") + layout.entries[i].name;
  }
  if (range.last > range.first + kNamed) text += " and " + std::to_string(range.last - range.first - kNamed) + " more";
  return text;
}

Result<std::string> mark_text(const Store& store, const std::string& name, std::string_view mark) {
  const std::string path = env::join(env::join(store.path(), name), mark);
  SF_ASSIGN(std::string text, env::read_whole(store.env(), path, kMarkLimitBytes));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

}  // namespace stillframe::store
