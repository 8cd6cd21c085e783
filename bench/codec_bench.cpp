// Ratio, encode and decode rate of every level on files of tensors, beside memcpy, LZ4 and zstd -1, on one core:
//   codec_bench <file or directory …> [--rounds N]
// The last two parts of a file's name say what it holds, as in `layers0.w.f32`; files of the same two parts are one
// row. Rates are of raw bytes, by this thread's processor time, medians of the rounds; all columns of a row take turns
// within each round.
#include <lz4.h>
#include <time.h>
#include <zstd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "codec/codec.hpp"
#include "codec/context.hpp"
#include "codec/plane_kernels.hpp"

namespace stillframe {
namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<std::byte>;

struct Row {
  std::string kind;  // "w.f32"
  std::uint8_t element_bytes = 1;
  Bytes raw;
};

std::uint8_t element_bytes_of(std::string_view dtype) {
  if (dtype == "f64" || dtype == "i64") return 8;
  if (dtype == "f32" || dtype == "i32") return 4;
  return dtype == "bf16" || dtype == "f16" || dtype == "i16" ? 2 : 1;
}

void add_file(std::map<std::string, Row>& rows, const fs::path& path) {
  const std::string dtype = path.extension().string();
  const std::string kind = path.stem().extension().string() + dtype;
  if (dtype.size() < 2 || kind == dtype) return;  // no tensor
  std::ifstream in(path, std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(in), {}};
  Row& row = rows[kind.substr(1)];
  row.kind = kind.substr(1);
  row.element_bytes = element_bytes_of(dtype.substr(1));
  const auto* const bytes = reinterpret_cast<const std::byte*>(content.data());
  row.raw.insert(row.raw.end(), bytes, bytes + content.size() / row.element_bytes * row.element_bytes);
}

std::map<std::string, Row> read_rows(const std::vector<std::string>& places) {
  std::map<std::string, Row> rows;
  for (const std::string& place : places) {
    if (!fs::is_directory(place)) {
      add_file(rows, place);
      continue;
    }
    for (const auto& entry : fs::directory_iterator(place)) {
      if (entry.is_regular_file()) add_file(rows, entry.path());
    }
  }
  return rows;
}

double processor_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

struct Chunk {
  std::span<const std::byte> raw;
  std::uint8_t element_bytes = 1;
  Bytes stored;  // with room for any column's result
  std::size_t stored_bytes = 0;
  codec::CodecId codec = codec::CodecId::raw;
  codec::Decisions decisions;
};

// One column: both ways of one chunk. False when it went wrong.
struct Column {
  std::string name;
  std::function<bool(Chunk&)> encode;
  std::function<bool(Chunk&, std::span<std::byte>)> decode;
};

const char* chars(const std::byte* bytes) { return reinterpret_cast<const char*>(bytes); }
char* chars(std::byte* bytes) { return reinterpret_cast<char*>(bytes); }

Column copy_column() {
  const auto copy = [](Chunk& chunk) {
    std::memcpy(chunk.stored.data(), chunk.raw.data(), chunk.raw.size());
    chunk.stored_bytes = chunk.raw.size();
    return true;
  };
  return {"memcpy", copy, [](Chunk& chunk, std::span<std::byte> raw) {
            std::memcpy(raw.data(), chunk.stored.data(), raw.size());
            return true;
          }};
}

Column lz4_column() {
  const auto encode = [](Chunk& chunk) {
    const int bytes = LZ4_compress_default(chars(chunk.raw.data()), chars(chunk.stored.data()),
                                           static_cast<int>(chunk.raw.size()), static_cast<int>(chunk.stored.size()));
    chunk.stored_bytes = static_cast<std::size_t>(std::max(bytes, 0));
    return bytes > 0;
  };
  return {"LZ4", encode, [](Chunk& chunk, std::span<std::byte> raw) {
            return LZ4_decompress_safe(chars(chunk.stored.data()), chars(raw.data()),
                                       static_cast<int>(chunk.stored_bytes), static_cast<int>(raw.size())) > 0;
          }};
}

Column zstd_column() {
  const std::shared_ptr<ZSTD_CCtx> encoder(ZSTD_createCCtx(), ZSTD_freeCCtx);
  const std::shared_ptr<ZSTD_DCtx> decoder(ZSTD_createDCtx(), ZSTD_freeDCtx);
  const auto encode = [encoder](Chunk& chunk) {
    chunk.stored_bytes = ZSTD_compressCCtx(encoder.get(), chunk.stored.data(), chunk.stored.size(), chunk.raw.data(),
                                           chunk.raw.size(), -1);
    return ZSTD_isError(chunk.stored_bytes) == 0U;
  };
  return {"zstd -1", encode, [decoder](Chunk& chunk, std::span<std::byte> raw) {
            return ZSTD_decompressDCtx(decoder.get(), raw.data(), raw.size(), chunk.stored.data(),
                                       chunk.stored_bytes) == raw.size();
          }};
}

std::array<ElementRun, 1> run_of(const Chunk& chunk) {
  return {ElementRun{static_cast<std::uint32_t>(chunk.raw.size()), chunk.element_bytes}};
}

bool take(Chunk& chunk, const Result<codec::Encoded>& encoded) {
  if (!encoded.ok()) return false;
  chunk.codec = encoded->codec;
  chunk.stored_bytes = encoded->bytes;
  return true;
}

Column lz4_planes_column() {
  const auto encode = [](Chunk& chunk) {
    return take(chunk, codec::encode(codec::CodecId::planes_lz4, chunk.raw, run_of(chunk), chunk.stored));
  };
  return {"planes_lz4", encode, [](Chunk& chunk, std::span<std::byte> raw) {
            return codec::decode(static_cast<std::uint8_t>(chunk.codec),
                                 std::span(chunk.stored).first(chunk.stored_bytes), raw)
                .ok();
          }};
}

// `remembers`: decisions of the round before are handed in, as from one checkpoint to the next.
Column level_column(codec::Level level, bool remembers, const std::shared_ptr<codec::Context>& context) {
  const auto encode = [=](Chunk& chunk) {
    if (!remembers) chunk.decisions = {};
    return take(chunk, codec::encode(level, chunk.raw, run_of(chunk), chunk.stored, chunk.decisions, *context));
  };
  const auto decode = [=](Chunk& chunk, std::span<std::byte> raw) {
    return codec::decode(static_cast<std::uint8_t>(chunk.codec), std::span(chunk.stored).first(chunk.stored_bytes), raw,
                         *context)
        .ok();
  };
  return {std::string(codec::level_name(level)) + (remembers ? "" : ", sampled"), encode, decode};
}

struct Cell {
  double ratio = 0;
  std::vector<double> encode_seconds;
  std::vector<double> decode_seconds;
  std::vector<Chunk> chunks;
};

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

std::vector<Chunk> chunks_of(const Row& row) {
  std::vector<Chunk> chunks;
  for (std::size_t at = 0; at < row.raw.size(); at += kChunkBytes) {
    const std::size_t bytes = std::min<std::size_t>(kChunkBytes, row.raw.size() - at);
    chunks.push_back({std::span(row.raw).subspan(at, bytes), row.element_bytes, {}, 0, codec::CodecId::raw, {}});
    chunks.back().stored.resize(std::max(codec::encoded_bound(bytes), ZSTD_compressBound(bytes)));
  }
  return chunks;
}

// One round of one column. Each chunk has buffers of its own, so that what is written is not in the nearest cache
// already.
bool measure(const Column& column, Cell& cell, Bytes& image) {
  const double begin = processor_seconds();
  for (Chunk& chunk : cell.chunks) {
    if (!column.encode(chunk)) return false;
  }
  const double encoded = processor_seconds();
  std::size_t at = 0;
  for (Chunk& chunk : cell.chunks) {
    if (!column.decode(chunk, std::span(image).subspan(at, chunk.raw.size()))) return false;
    at += chunk.raw.size();
  }
  const double decoded = processor_seconds();
  cell.encode_seconds.push_back(encoded - begin);
  cell.decode_seconds.push_back(decoded - encoded);
  return true;
}

// The cells of a row, or nothing when a column did not give the bytes back.
std::optional<std::vector<Cell>> measure_row(const Row& row, const std::vector<Column>& columns, int rounds) {
  std::vector<Cell> cells(columns.size());
  for (Cell& cell : cells) cell.chunks = chunks_of(row);
  Bytes image(row.raw.size());
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < columns.size(); ++i) {
      std::fill(image.begin(), image.end(), std::byte{0});
      if (!measure(columns[i], cells[i], image) || image != row.raw) {
        std::fprintf(stderr, "codec_bench: %s, %s: the bytes did not come back\n", row.kind.c_str(),
                     columns[i].name.c_str());
        return std::nullopt;
      }
    }
  }
  for (Cell& cell : cells) {
    std::size_t stored = 0;
    for (const Chunk& chunk : cell.chunks) stored += chunk.stored_bytes;
    cell.ratio = static_cast<double>(row.raw.size()) / static_cast<double>(stored);
  }
  return cells;
}

// What the level "default" is meant to reach: docs/measurements.md.
struct Goal {
  const char* kind;
  double ratio, encode_gb, decode_gb;
};
constexpr std::array kGoals{Goal{"w.f32", 1.19, 1.7, 2.2}, Goal{"w.bf16", 1.49, 1.7, 2.2},
                            Goal{"m.f32", 1.18, 1.7, 2.2}, Goal{"v.f32", 1.22, 1.5, 1.7}};

void print_row(const Row& row, const std::vector<Cell>& cells) {
  std::printf("| %s |", row.kind.c_str());
  for (const Cell& cell : cells) {
    const double gb = static_cast<double>(row.raw.size()) * 1e-9;
    std::printf(" %.3f / %.2f / %.2f |", cell.ratio, gb / median(cell.encode_seconds),
                gb / median(cell.decode_seconds));
  }
  for (const Goal& goal : kGoals) {
    if (row.kind == goal.kind) std::printf(" %.2f / %.1f / %.1f", goal.ratio, goal.encode_gb, goal.decode_gb);
  }
  std::printf(" |\n");
  std::fflush(stdout);
}

int run(const std::vector<std::string>& places, int rounds) {
  auto made = codec::Context::create();
  if (!made.ok()) {
    std::fprintf(stderr, "codec_bench: %s\n", made.status().message().c_str());
    return 1;
  }
  const auto context = std::make_shared<codec::Context>(*std::move(made));
  const std::vector<Column> columns{copy_column(),
                                    lz4_column(),
                                    zstd_column(),
                                    lz4_planes_column(),
                                    level_column(codec::Level::fast, true, context),
                                    level_column(codec::Level::standard, false, context),
                                    level_column(codec::Level::standard, true, context)};
  const auto rows = read_rows(places);
  if (rows.empty()) {
    std::fprintf(stderr, "codec_bench: no file there is named like a tensor (NAME.w.f32)\n");
    return 1;
  }
  std::printf("ratio / encode GB/s / decode GB/s; kernels: %s; rounds: %d\n\n| |", codec::best_kernels().name, rounds);
  for (const Column& column : columns) std::printf(" %s |", column.name.c_str());
  std::printf(" goal of default |\n|---|");
  for (std::size_t i = 0; i <= columns.size(); ++i) std::printf("---|");
  std::printf("\n");
  for (const auto& [kind, row] : rows) {
    const auto cells = measure_row(row, columns, rounds);
    if (!cells) return 1;
    print_row(row, *cells);
  }
  return 0;
}

}  // namespace
}  // namespace stillframe

int main(int argc, char** argv) {
  CLI::App app("What the codec makes of files of tensors, on one core");
  std::vector<std::string> places;
  int rounds = 11;
  app.add_option("places", places, "files, or directories of them")->required()->check(CLI::ExistingPath);
  app.add_option("--rounds", rounds, "of each column; the median counts")->check(CLI::Range(1, 1000));
  CLI11_PARSE(app, argc, argv);
  return stillframe::run(places, rounds);
}
