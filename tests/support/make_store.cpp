// Writes a store of checkpoints whose every byte follows from the step, for tests that drive the command line.
//
//   make_store /tmp/s --count 3 --first-step 1000 --every 1000 --elements 400000 --run main --ranks 1
//
// Per rank: model.weight F32 [elements] = step + i % 1000; model.mask BOOL [3] = 1 0 1; phase C128 [2] = (step, -step)
// each; optimizer.step I64 [] = step. Rank r adds r to the step in its values. Outside the tensors: "values" with the
// step and a string. Confirmed, with the metric loss. Prints the names, one a line.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <complex>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <limits>

#include "base/checksum.hpp"
#include "codec/codec.hpp"
#include "codec/context.hpp"
#include "format/json.hpp"
#include "format/tree.hpp"
#include "format/writer_words.hpp"
#include "store/writer.hpp"

namespace {

using namespace stillframe;

constexpr auto kLevel = codec::Level::standard;  // unless raw

struct Options {
  std::string store;
  std::string run = "main";
  std::uint64_t count = 3;
  std::int64_t first_step = 1000;
  std::int64_t every = 1000;
  std::uint64_t elements = 400'000;
  std::uint32_t ranks = 1;
  std::vector<std::string> losses;  // of the checkpoints in order, "nan" among them; 0.25 where none is left
  std::vector<std::string> alarms;  // kind=text, on every checkpoint
  std::string bad;                  // text of the mark
  std::string named;                // one more tensor, metric, value and alarm of this name, if any
  bool verified = false;
  bool unconfirmed = false;
  bool raw = false;         // data as a safetensors file
  bool zeros = false;       // model.weight is 0 everywhere, in chunks of location constant
  bool same_model = false;  // model.weight does not depend on the step
  bool nan = false;         // its first element is NaN
};

Result<format::ImageLayout> make_layout(const Options& options) {
  std::vector<Entry> specs{{"model.weight", DType::f32, {options.elements}},
                                       {"model.mask", DType::boolean, {3}},
                                       {"phase", DType::c128, {2}},
                                       {"optimizer.step", DType::i64, {}}};
  if (!options.named.empty()) specs.push_back({options.named, DType::i64, {}});
  return format::lay_out(specs);
}

template <typename T>
void put(std::span<std::byte> bytes, std::size_t index, T value) {
  std::memcpy(bytes.data() + index * sizeof value, &value, sizeof value);
}

void put_weight(std::span<std::byte> bytes, const Options& options, std::int64_t step) {
  const float first = options.same_model ? 0.0F : static_cast<float>(step);
  for (std::size_t i = 0; i < bytes.size() / 4 && !options.zeros; ++i) {
    put(bytes, i, first + static_cast<float>(i % 1000));
  }
  if (options.nan) put(bytes, 0, std::numeric_limits<float>::quiet_NaN());
}

std::vector<std::byte> make_image(const Options& options, const format::ImageLayout& layout, std::int64_t step) {
  std::vector<std::byte> image(layout.bytes);
  for (const Entry& entry : layout.entries) {
    const auto bytes = std::span(image).subspan(entry.offset, entry.bytes);
    if (entry.name == "model.weight") {
      put_weight(bytes, options, step);
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

Status append_image(store::CheckpointWriter& writer, const Options& options, const format::ImageLayout& layout,
                    std::span<const std::byte> image) {
  std::vector<std::byte> stored(codec::encoded_bound(kChunkBytes));
  const auto level = options.raw ? codec::Level::raw : kLevel;
  SF_ASSIGN(codec::Context context, codec::Context::create());
  for (std::uint64_t chunk = 0; chunk < layout.chunk_count(); ++chunk) {
    const auto raw = image.subspan(chunk * kChunkBytes, layout.chunk_length(chunk));
    format::ChunkRecord record;
    record.raw_bytes = static_cast<std::uint32_t>(raw.size());
    record.raw_hash = base::xxh128(raw);
    record.raw_crc32 = base::crc32(raw);
    if (std::ranges::all_of(raw, [](std::byte b) { return b == std::byte{0}; }) && !options.raw) {
      record.location = format::LocationKind::constant;
      SF_TRY(writer.append(record, {}));
      continue;
    }
    codec::Decisions decisions;
    SF_ASSIGN(const codec::Encoded encoded,
              codec::encode(level, raw, format::element_runs(layout, chunk), stored, decisions, context));
    const auto bytes = std::span(stored).first(encoded.bytes);
    record.codec = static_cast<std::uint8_t>(encoded.codec);
    record.stored_bytes = static_cast<std::uint32_t>(bytes.size());
    record.stored_crc32c = base::crc32c(bytes);
    SF_TRY(writer.append(record, bytes));
  }
  return {};
}

std::string json_text(const std::string& text) {
  std::string json;
  format::append_json_string(json, text);
  return json;
}

std::string tree_of(const Options& options, const format::ImageLayout& layout, std::int64_t step) {
  std::string tree = format::flat_tree(layout);
  tree.pop_back();
  tree += R"(, "values": {"step": )" + std::to_string(step) + R"(, "schedule": "cosine")";
  if (!options.named.empty()) tree += ", " + json_text(options.named) + ": " + std::to_string(step);
  return tree + "}}";
}

std::string metrics_of(const Options& options, std::uint64_t index) {
  const std::string loss = index < options.losses.size() ? options.losses[index] : "0.25";
  const std::string value = loss == "nan" ? R"({"$float": "nan"})" : loss;
  const std::string more = options.named.empty() ? "" : ", " + json_text(options.named) + ": " + value;
  return R"({"loss": )" + value + more + "}";
}

format::Manifest draft_of(const Options& options, std::uint64_t sequence, std::int64_t step, std::uint64_t index) {
  format::Manifest draft;
  const std::string digits = std::to_string(sequence);
  draft.id = std::string(32 - digits.size(), '0') + digits;
  draft.run = options.run;
  draft.step = step;
  draft.group = "default";
  draft.world_size = options.ranks;
  draft.confirmed = !options.unconfirmed;
  draft.metrics_json = metrics_of(options, index);
  for (const std::string& alarm : options.alarms) {
    const std::size_t equals = alarm.find('=');
    draft.alarms.push_back({alarm.substr(0, equals), alarm.substr(equals + 1)});
  }
  if (!options.named.empty()) draft.alarms.push_back({"non_finite_loss", options.named});
  draft.writer = format::writer_words("make_store", options.raw ? "" : codec::level_name(kLevel), false);
  return draft;
}

Status write_one(const store::Store& store, const Options& options, std::uint64_t index) {
  const std::int64_t step = options.first_step + static_cast<std::int64_t>(index) * options.every;
  SF_ASSIGN(const std::uint64_t sequence, store.claim_sequence(base::Deadline::after_ms(10'000)));
  const std::int64_t utc_ns = 1'795'350'605'000'000'000 + step * 1'000'000'000;
  SF_ASSIGN(auto writer, store::CheckpointWriter::begin(store, options.run, sequence, step, utc_ns));
  const auto kind = options.raw ? store::DataKind::safetensors : store::DataKind::container;
  for (std::uint32_t rank = 0; rank < options.ranks; ++rank) {
    SF_ASSIGN(const format::ImageLayout layout, make_layout(options));
    SF_TRY(writer->begin_rank(rank, layout, kind));
    SF_TRY(append_image(*writer, options, layout, make_image(options, layout, step + rank)));
    SF_TRY(writer->end_rank(tree_of(options, layout, step)));
  }
  SF_ASSIGN(const store::Published published, writer->commit(draft_of(options, sequence, step, index)));
  if (options.verified) SF_TRY(store.set_mark(published.name, format::kVerifiedMark, "by make_store\n"));
  if (!options.bad.empty()) SF_TRY(store.set_mark(published.name, format::kBadMark, options.bad + "\n"));
  std::cout << published.name << '\n';
  return {};
}

Status write_all(const Options& options) {
  SF_ASSIGN(const store::Store store, store::Store::open_or_create(env::posix_env(), options.store));
  SF_ASSIGN(const auto lock, store.lock_run(options.run));
  for (std::uint64_t i = 0; i < options.count; ++i) SF_TRY(write_one(store, options, i));
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
  app.add_option("--elements", options.elements)->take_last();
  app.add_option("--ranks", options.ranks);
  app.add_option("--loss", options.losses)->delimiter(',');
  app.add_option("--alarm", options.alarms);
  app.add_option("--bad", options.bad);
  app.add_option("--named", options.named);
  app.add_flag("--verified", options.verified);
  app.add_flag("--unconfirmed", options.unconfirmed);
  app.add_flag("--raw", options.raw);
  app.add_flag("--zeros", options.zeros);
  app.add_flag("--same-model", options.same_model);
  app.add_flag("--nan", options.nan);
  CLI11_PARSE(app, argc, argv);
  const Status status = write_all(options);
  if (!status.ok()) std::cerr << "make_store: " << status.message() << '\n';
  return status.ok() ? 0 : 1;
}
