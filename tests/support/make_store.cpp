// Writes a store of checkpoints whose every byte follows from the step, for tests that drive the command line.
//
//   make_store /tmp/s --count 3 --first-step 1000 --every 1000 --elements 400000 --run main --ranks 1
//
// Per rank: model.weight F32 [elements] = step + i % 1000; model.mask BOOL [3] = 1 0 1; phase C128 [2] = (step, -step)
// each; optimizer.step I64 [] = step. Rank r adds r to the step in its values. Prints the names, one a line.
#include <CLI/CLI.hpp>
#include <complex>
#include <cstdio>
#include <cstring>
#include <iostream>

#include "base/checksum.hpp"
#include "codec/codec.hpp"
#include "format/tree.hpp"
#include "store/writer.hpp"

namespace {

using namespace stillframe;

struct Options {
  std::string store;
  std::string run = "main";
  std::uint64_t count = 3;
  std::int64_t first_step = 1000;
  std::int64_t every = 1000;
  std::uint64_t elements = 400'000;
  std::uint32_t ranks = 1;
  bool verified = false;
};

Result<format::ImageLayout> make_layout(const Options& options) {
  return format::lay_out({{"model.weight", DType::f32, {options.elements}},
                          {"model.mask", DType::boolean, {3}},
                          {"phase", DType::c128, {2}},
                          {"optimizer.step", DType::i64, {}}});
}

template <typename T>
void put(std::span<std::byte> bytes, std::size_t index, T value) {
  std::memcpy(bytes.data() + index * sizeof value, &value, sizeof value);
}

std::vector<std::byte> make_image(const format::ImageLayout& layout, std::int64_t step) {
  std::vector<std::byte> image(layout.bytes);
  for (const Entry& entry : layout.entries) {
    const auto bytes = std::span(image).subspan(entry.offset, entry.bytes);
    if (entry.name == "model.weight") {
      for (std::size_t i = 0; i < bytes.size() / 4; ++i) {
        put(bytes, i, static_cast<float>(step) + static_cast<float>(i % 1000));
      }
    } else if (entry.name == "model.mask") {
      bytes[0] = bytes[2] = std::byte{1};
    } else if (entry.name == "phase") {
      const auto value = static_cast<double>(step);
      put(bytes, 0, std::complex<double>(value, -value));
      put(bytes, 1, std::complex<double>(value, -value));
    } else {
      put(bytes, 0, step);
    }
  }
  return image;
}

Status append_image(store::CheckpointWriter& writer, const format::ImageLayout& layout,
                    std::span<const std::byte> image) {
  std::vector<std::byte> stored(codec::encoded_bound(kChunkBytes));
  for (std::uint64_t chunk = 0; chunk < layout.chunk_count(); ++chunk) {
    const auto raw = image.subspan(chunk * kChunkBytes, layout.chunk_length(chunk));
    const auto runs = format::element_runs(layout, chunk);
    SF_ASSIGN(const codec::Encoded encoded, codec::encode(codec::CodecId::planes_lz4, raw, runs, stored));
    const auto bytes = std::span(stored).first(encoded.bytes);
    format::ChunkRecord record;
    record.codec = static_cast<std::uint8_t>(encoded.codec);
    record.raw_bytes = static_cast<std::uint32_t>(raw.size());
    record.stored_bytes = static_cast<std::uint32_t>(bytes.size());
    record.raw_hash = base::xxh128(raw);
    record.raw_crc32 = base::crc32(raw);
    record.stored_crc32c = base::crc32c(bytes);
    SF_TRY(writer.append(record, bytes));
  }
  return {};
}

Status write_one(const store::Store& store, const Options& options, std::int64_t step) {
  SF_ASSIGN(const std::uint64_t sequence, store.claim_sequence(base::Deadline::after_ms(10'000)));
  const std::int64_t utc_ns = 1'795'350'605'000'000'000 + step * 1'000'000'000;
  SF_ASSIGN(auto writer, store::CheckpointWriter::begin(store, options.run, sequence, step, utc_ns));
  for (std::uint32_t rank = 0; rank < options.ranks; ++rank) {
    SF_ASSIGN(const format::ImageLayout layout, make_layout(options));
    SF_TRY(writer->begin_rank(rank, layout, store::DataKind::container));
    SF_TRY(append_image(*writer, layout, make_image(layout, step + rank)));
    SF_TRY(writer->end_rank(format::flat_tree(layout)));
  }
  format::Manifest draft;
  const std::string digits = std::to_string(sequence);
  draft.id = std::string(32 - digits.size(), '0') + digits;
  draft.run = options.run;
  draft.step = step;
  draft.group = "default";
  draft.world_size = options.ranks;
  draft.metrics_json = R"({"loss":0.25})";
  draft.writer = "make_store";
  SF_ASSIGN(const store::Published published, writer->commit(std::move(draft)));
  if (options.verified) SF_TRY(store.set_mark(published.name, format::kVerifiedMark, "by make_store\n"));
  std::cout << published.name << '\n';
  return {};
}

Status write_all(const Options& options) {
  SF_ASSIGN(const store::Store store, store::Store::open_or_create(env::posix_env(), options.store));
  SF_ASSIGN(const auto lock, store.lock_run(options.run));
  for (std::uint64_t i = 0; i < options.count; ++i) {
    SF_TRY(write_one(store, options, options.first_step + static_cast<std::int64_t>(i) * options.every));
  }
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Writes a store of checkpoints for tests.");
  app.add_option("store", options.store)->required();
  app.add_option("--run", options.run);
  app.add_option("--count", options.count);
  app.add_option("--first-step", options.first_step);
  app.add_option("--every", options.every);
  app.add_option("--elements", options.elements);
  app.add_option("--ranks", options.ranks);
  app.add_flag("--verified", options.verified);
  CLI11_PARSE(app, argc, argv);
  const Status status = write_all(options);
  if (!status.ok()) std::cerr << "make_store: " << status.message() << '\n';
  return status.ok() ? 0 : 1;
}
