// Small checkpoints whose every byte follows from the step, and ways to damage them. For tests of store, restore,
// persist.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/checksum.hpp"
#include "codec/codec.hpp"
#include "codec/context.hpp"
#include "env/env.hpp"
#include "format/tree.hpp"
#include "store/reader.hpp"
#include "store/verify.hpp"
#include "store/writer.hpp"

namespace stillframe::test {

inline constexpr std::int64_t kUtcNs = 1'795'350'605'000'000'000;

// Three chunks: `layer.weight` spans all of them (the middle one alone), the last one is shared by four entries.
inline format::ImageLayout three_chunk_layout() {
  return format::lay_out({{"layer.weight", DType::f32, {600'000}},
                          {"mask", DType::boolean, {7}},
                          {"layer.bias", DType::f32, {10}},
                          {"empty", DType::u8, {0}},
                          {"scale", DType::bf16, {3}}})
      .value();
}

inline std::vector<std::byte> image_of(const format::ImageLayout& layout, std::int64_t step) {
  std::vector<std::byte> image(layout.bytes);
  std::uint64_t state = static_cast<std::uint64_t>(step) * 2654435761U + 1;
  for (std::size_t i = 0; i < image.size(); ++i) {
    // Half of each word is equal bytes, and of the last byte half the bits.
    if (i % 4 >= 2) state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    image[i] =
        static_cast<std::byte>(i % 4 >= 2 ? state >> (i % 4 == 3 ? 60U : 56U) : static_cast<std::uint64_t>(step));
  }
  return image;
}

// planes: at level default, and with what is worth it.
inline Result<codec::Encoded> encode_as(codec::CodecId wanted, std::span<const std::byte> raw,
                                        std::span<const ElementRun> runs, std::span<std::byte> out) {
  if (wanted != codec::CodecId::planes) return codec::encode(wanted, raw, runs, out);
  codec::Decisions decisions;
  SF_ASSIGN(codec::Context context, codec::Context::create());
  return codec::encode(codec::Level::standard, raw, runs, out, decisions, context);
}

inline Status append_image(store::CheckpointWriter& writer, const format::ImageLayout& layout,
                           std::span<const std::byte> image, codec::CodecId wanted) {
  std::vector<std::byte> out(codec::encoded_bound(kChunkBytes));
  for (std::uint64_t chunk = 0; chunk < layout.chunk_count(); ++chunk) {
    const auto raw = image.subspan(chunk * kChunkBytes, layout.chunk_length(chunk));
    SF_ASSIGN(const auto encoded, encode_as(wanted, raw, format::element_runs(layout, chunk), out));
    const auto stored = std::span<const std::byte>(out).first(encoded.bytes);
    format::ChunkRecord record;
    record.codec = static_cast<std::uint8_t>(encoded.codec);
    record.raw_bytes = static_cast<std::uint32_t>(raw.size());
    record.stored_bytes = static_cast<std::uint32_t>(stored.size());
    record.raw_hash = base::xxh128(raw);
    record.raw_crc32 = base::crc32(raw);
    record.stored_crc32c = base::crc32c(stored);
    SF_TRY(writer.append(record, stored));
  }
  return Status();
}

inline format::Manifest draft_of(const std::string& run, std::int64_t step, std::uint32_t ranks = 1) {
  format::Manifest draft;
  draft.id = "0123456789abcdef0123456789abcdef";
  draft.run = run;
  draft.step = step;
  draft.group = "default";
  draft.world_size = ranks;
  draft.writer = "stillframe test";
  return draft;
}

// The whole way of one checkpoint, as persist goes it; raw data as safetensors. `draft` gives run, step, ranks and what
// its manifest is to say.
inline Result<store::Published> publish_draft(const store::Store& store, format::Manifest draft,
                                              codec::CodecId wanted = codec::CodecId::planes_lz4,
                                              const format::ImageLayout& layout = three_chunk_layout()) {
  SF_ASSIGN(const std::uint64_t sequence, store.claim_sequence(base::Deadline::after_ms(10'000)));
  SF_ASSIGN(const auto writer, store::CheckpointWriter::begin(store, draft.run, sequence, draft.step, kUtcNs));
  const auto kind = wanted == codec::CodecId::raw ? store::DataKind::safetensors : store::DataKind::container;
  for (std::uint32_t rank = 0; rank < draft.world_size; ++rank) {
    SF_TRY(writer->begin_rank(rank, layout, kind));
    SF_TRY(append_image(*writer, layout, image_of(layout, draft.step + rank), wanted));
    SF_TRY(writer->end_rank(format::flat_tree(layout)));
  }
  return writer->commit(std::move(draft));
}

inline Result<store::Published> publish(const store::Store& store, const std::string& run, std::int64_t step,
                                        codec::CodecId wanted = codec::CodecId::planes_lz4, std::uint32_t ranks = 1) {
  return publish_draft(store, draft_of(run, step, ranks), wanted);
}

inline Result<std::vector<std::byte>> read_image(const store::CheckpointReader& reader, std::size_t rank_index = 0) {
  const auto& table = reader.table(rank_index);
  std::vector<std::byte> image(table.image_bytes);
  store::ReadScratch scratch;
  for (std::uint64_t chunk = 0; chunk < table.chunks.size(); ++chunk) {
    const auto raw = std::span(image).subspan(chunk * kChunkBytes, table.chunks[chunk].raw_bytes);
    SF_TRY(reader.read_chunk(rank_index, chunk, raw, scratch));
  }
  return image;
}

// ok when the checkpoint opens and every byte is what `step` makes it.
inline Status check_whole(const store::Store& store, const std::string& name, std::int64_t step) {
  SF_ASSIGN(const auto reader, store::CheckpointReader::open(store, name));
  SF_ASSIGN(const auto image, read_image(*reader));
  if (image != image_of(three_chunk_layout(), step))
    return Status(Code::corrupt, name + " holds other bytes than it was given");
  return Status();
}

inline std::string file_of(const store::Store& store, const std::string& name, std::string_view file) {
  return env::join(env::join(store.path(), name), file);
}

inline Result<std::string> content_of(env::Env& env, const std::string& path) {
  return env::read_whole(env, path, 1ULL << 30U);
}

// The file's new content is durable, as if it had always been so.
inline Status overwrite(env::Env& env, const std::string& path, std::string_view content) {
  SF_TRY(env.remove_file(path));
  SF_ASSIGN(const auto file, env.create(path));
  SF_TRY(file->write_at(0, std::as_bytes(std::span(content))));
  SF_TRY(file->sync());
  return env.sync_dir(env::parent_dir(path));
}

inline Status flip_bit(env::Env& env, const std::string& path, std::size_t at) {
  SF_ASSIGN(std::string content, content_of(env, path));
  content.at(at) = static_cast<char>(content.at(at) ^ 0x01);
  return overwrite(env, path, content);
}

}  // namespace stillframe::test
