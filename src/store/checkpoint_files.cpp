#include "store/checkpoint_files.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "base/checksum.hpp"
#include "store/ownership.hpp"

namespace stillframe::store {
namespace {

Status damaged(const std::string& path, const std::string& what) {
  return Status(Code::corrupt, "'" + path + "' " + what);
}

Result<std::unique_ptr<env::File>> open_from(const Store& store, const std::string& path, ReadFrom from) {
  auto file = open_promised(store, path);
  if (file.ok() && from == ReadFrom::device) (*file)->drop_cache();
  return file;
}

Result<std::string> read_first(const env::File& file, std::uint64_t bytes) {
  std::string text(bytes, '\0');
  SF_ASSIGN(const std::size_t got, file.read_at(0, std::as_writable_bytes(std::span(text))));
  text.resize(got);
  return text;
}

// The limit is that of this version: a later one may hold more.
Result<std::string> read_manifest(const Store& store, const std::string& path, ReadFrom from) {
  SF_ASSIGN(const auto file, open_from(store, path, from));
  SF_ASSIGN(const std::uint64_t bytes, file->size());
  if (bytes <= kMaxManifestBytes) return read_first(*file, bytes);
  SF_ASSIGN(const std::string prefix, read_first(*file, format::kVersionPrefixBytes));
  SF_TRY(format::check_not_later(prefix).with_context("'" + path + "': manifest"));
  return damaged(path, "holds " + base::human_bytes(bytes) + ", more than the " + base::human_bytes(kMaxManifestBytes) +
                           " it may hold; it was not read");
}

// Never holds more than a piece and the records that were right: a table may claim gigabytes that are a hole.
Result<format::ChunkTable> read_in_pieces(const env::File& file, const std::string& path,
                                          const format::RankManifest& rank) {
  constexpr std::uint64_t kPieceBytes = 1024 * 1024;
  static_assert(kPieceBytes % format::TableDecoder::kBlockBytes == 0);
  format::TableBounds bounds{rank.data.start, rank.data.bytes, {}, rank.version};
  for (const auto& shared : rank.shared) bounds.shared_bytes.push_back(shared.bytes);
  format::TableDecoder decoder(rank.table.bytes, std::move(bounds));
  base::PiecewiseHash hash;
  Status decoded;
  std::vector<std::byte> piece(std::min(kPieceBytes, rank.table.bytes));
  for (std::uint64_t at = 0; at < rank.table.bytes; at += piece.size()) {
    piece.resize(std::min<std::uint64_t>(piece.size(), rank.table.bytes - at));
    SF_ASSIGN(const std::size_t got, file.read_at(at, piece));
    if (got != piece.size()) return damaged(path, "ends at byte " + std::to_string(at + got));
    hash.add(piece);
    if (decoded.ok()) decoded = decoder.take(piece).with_context("'" + path + "'");
    if (decoded.code() == Code::corrupt) return decoded;
  }
  // Before the word of a record that is not known: the table of a later version has no business here.
  if (hash.xxh128() != rank.table_hash || hash.crc32() != rank.table_crc32) {
    return damaged(path, "does not match the hash that the manifest holds");
  }
  SF_TRY(decoded);
  auto table = std::move(decoder).finish();
  return table.ok() ? std::move(table) : table.status().with_context("'" + path + "'");
}

Status gone(const Store& store, const std::string& name) {
  return Status(Code::not_found, "there is no checkpoint '" + name + "' in the store '" + store.path() + "'");
}

// Removal renames before it unlinks: a file that is missing while the name still stands is damage, not a removal.
Status gone_or(Status failure, const Store& store, const std::string& name) {
  SF_ASSIGN(const bool there, store.env().exists(env::join(store.path(), name)));
  return there ? std::move(failure) : gone(store, name);
}

}  // namespace

Result<OpenedManifest> open_manifest(const Store& store, const std::string& name, ReadFrom from) {
  OpenedManifest opened{name, {}, nullptr, {}, {}};
  SF_ASSIGN(opened.path, checkpoint_directory(store, name));
  const std::string path = env::join(opened.path, format::kManifestFile);
  auto lock = store.env().try_lock(path, env::LockMode::shared);
  if (!lock.ok() && lock.status().code() == Code::busy) {
    return gone(store, name).with_context("being removed at this moment");
  }
  if (lock.ok()) {
    opened.lock = *std::move(lock);
  } else if (lock.status().code() != Code::not_found) {
    return lock.status();
  }
  // With the lock held, either the name still stands or the checkpoint is gone.
  SF_TRY(gone_or(Status(), store, name));
  auto text = read_manifest(store, path, from);
  if (!text.ok()) return gone_or(text.status(), store, name);
  opened.text = *std::move(text);
  auto manifest = format::decode_manifest(opened.text);
  if (!manifest.ok()) return manifest.status().with_context("'" + path + "'");
  SF_TRY(check_belongs(*manifest, *format::parse_checkpoint_name(name), path));
  opened.manifest = *std::move(manifest);
  return opened;
}

Result<std::string> read_manifest_text(const Store& store, const std::string& name) {
  SF_ASSIGN(const std::string directory, checkpoint_directory(store, name));
  const std::string path = env::join(directory, format::kManifestFile);
  auto text = read_manifest(store, path, ReadFrom::cache);
  if (!text.ok()) return gone_or(text.status(), store, name);
  return text;
}

Status check_belongs(const format::ManifestHead& head, const format::CheckpointName& name, const std::string& path) {
  if (head.sequence == name.sequence && head.step == name.step) return Status();
  return damaged(path, "belongs to another checkpoint: it says sequence " + std::to_string(head.sequence) + ", step " +
                           std::to_string(head.step) + "; the directory was renamed or the file was copied here");
}

Result<format::ChunkTable> read_table(const Store& store, const std::string& directory,
                                      const format::RankManifest& rank, ReadFrom from) {
  const std::string path = env::join(directory, rank.table.file);
  SF_ASSIGN(const auto file, open_from(store, path, from));
  SF_TRY(check_size(*file, path, rank.table.bytes));
  auto table = read_in_pieces(*file, path, rank);
  if (!table.ok()) return table;
  if (table->image_bytes != rank.layout.bytes) {
    return damaged(path, "is for an image of another size than the manifest's");
  }
  return table;
}

Result<std::unique_ptr<env::File>> open_promised(const Store& store, const std::string& path) {
  auto file = store.env().open(path);
  if (file.status().code() == Code::not_found) return damaged(path, "is missing");
  if (!file.ok()) return file;
  SF_ASSIGN(const env::FileInfo info, (*file)->info());
  SF_TRY(check_owner(store, path, info));
  return file;
}

Status check_size(const env::File& file, const std::string& path, std::uint64_t expected_bytes) {
  SF_ASSIGN(const std::uint64_t bytes, file.size());
  if (bytes == expected_bytes) return Status();
  return damaged(path, std::string(bytes < expected_bytes ? "is truncated: it has " : "has grown: it has ") +
                           std::to_string(bytes) + " bytes, the manifest says " + std::to_string(expected_bytes));
}

}  // namespace stillframe::store
