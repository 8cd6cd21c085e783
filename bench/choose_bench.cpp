// How long it takes to choose among 100 checkpoints, 10 of them with torn or corrupt manifests, the newest among those.
//
//   choose_bench [--json] [--checkpoints 100] [--bad 10] [--tensors 300] [--repeat 21]
//
// The goal is 50 ms each. Medians, from the page cache, in a directory under TMPDIR that is removed afterwards.
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "format/tree.hpp"
#include "restore/chooser.hpp"
#include "store/catalog.hpp"
#include "store/writer.hpp"

namespace {

using namespace stillframe;

struct Options {
  bool json = false;
  std::uint64_t checkpoints = 100;
  std::uint64_t bad = 10;
  std::uint64_t tensors = 300;
  std::uint64_t repeat = 21;
};

struct Figure {
  std::string what;
  double median_ms = 0;
  double worst_ms = 0;
};

// Names and shapes of a transformer; the tensors are small, since no data is read.
Result<format::ImageLayout> make_layout(std::uint64_t tensors) {
  std::vector<Entry> entries;
  for (std::uint64_t i = 0; i < tensors; ++i) {
    const std::string layer = "model.layers." + std::to_string(i / 6) + ".";
    const std::string part = std::array<const char*, 6>{"attention.query", "attention.output", "mlp.up",
                                                        "mlp.down",        "norm.before",      "norm.after"}[i % 6];
    entries.push_back({layer + part + ".weight", DType::bf16, {8, 16}});
  }
  return format::lay_out(std::move(entries));
}

Status write_one(const store::Store& store, const format::ImageLayout& layout, std::int64_t step) {
  SF_ASSIGN(const std::uint64_t sequence, store.claim_sequence(base::Deadline::after_ms(10'000)));
  SF_ASSIGN(const auto writer,
            store::CheckpointWriter::begin(store, "main", sequence, step, 1'795'350'605'000'000'000));
  SF_TRY(writer->begin_rank(0, layout, store::DataKind::container));
  const std::vector<std::byte> image(layout.bytes, static_cast<std::byte>(step));
  for (std::uint64_t chunk = 0; chunk < layout.chunk_count(); ++chunk) {
    const auto raw = std::span(image).subspan(chunk * kChunkBytes, layout.chunk_length(chunk));
    format::ChunkRecord record;
    record.raw_bytes = record.stored_bytes = static_cast<std::uint32_t>(raw.size());
    record.raw_hash = base::xxh128(raw);
    record.raw_crc32 = base::crc32(raw);
    record.stored_crc32c = base::crc32c(raw);
    SF_TRY(writer->append(record, raw));
  }
  SF_TRY(writer->end_rank(format::flat_tree(layout)));
  format::Manifest draft;
  draft.id = std::string(32, 'a');
  draft.run = "main";
  draft.step = step;
  draft.group = "default";
  draft.metrics_json = "{\"loss\":" + std::to_string(1000 - step) + ".5}";
  draft.writer = "choose_bench";
  return writer->commit(std::move(draft)).status();
}

// Every tenth, and the newest two: cut in half, or one byte changed.
void damage(const store::Store& store, std::uint64_t bad) {
  const auto listed = store.list().value();
  const std::size_t every = std::max<std::size_t>(1, listed.size() / std::max<std::uint64_t>(1, bad));
  std::uint64_t done = 0;
  for (std::size_t i = 0; i < listed.size() && done < bad; ++done, i += done < 2 ? 1 : every) {
    const std::string path = env::join(env::join(store.path(), listed[i].name), format::kManifestFile);
    const auto bytes = std::filesystem::file_size(path);
    if (done % 2 == 0) {
      std::filesystem::resize_file(path, bytes / 2);
    } else {
      std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(static_cast<std::streamoff>(bytes / 2));
      file.put('~');
    }
  }
}

Result<Figure> measure(const std::string& what, std::uint64_t repeat, const std::function<Status()>& work) {
  std::vector<double> ms;
  for (std::uint64_t i = 0; i < repeat; ++i) {
    const std::int64_t from_ns = base::system_clock().monotonic_ns();
    SF_TRY(work());
    ms.push_back(static_cast<double>(base::system_clock().monotonic_ns() - from_ns) / 1e6);
  }
  std::sort(ms.begin(), ms.end());
  return Figure{what, ms[ms.size() / 2], ms.back()};
}

Result<std::vector<Figure>> run(const Options& options, const std::string& directory) {
  SF_ASSIGN(const store::Store store, store::Store::open_or_create(env::posix_env(), directory));
  SF_ASSIGN(const auto layout, make_layout(options.tensors));
  for (std::uint64_t i = 0; i < options.checkpoints; ++i) {
    SF_TRY(write_one(store, layout, static_cast<std::int64_t>(i) + 1));
  }
  damage(store, options.bad);
  std::vector<Figure> figures;
  for (const std::string selector : {"latest", "best", "best:loss:max", "before-nan"}) {
    SF_ASSIGN(const auto address, format::parse_address(store.path() + "@" + selector));
    SF_ASSIGN(auto figure, measure("@" + selector, options.repeat,
                                   [&] { return restore::Chooser::open(env::posix_env(), address).status(); }));
    figures.push_back(std::move(figure));
  }
  SF_ASSIGN(auto catalog, measure("read_catalog", options.repeat, [&]() -> Status {
              SF_ASSIGN(const auto entries, store::read_catalog(store));
              const auto unreadable = static_cast<std::uint64_t>(
                  std::count_if(entries.begin(), entries.end(), [](const auto& entry) { return !entry.head.ok(); }));
              if (entries.size() == options.checkpoints && unreadable == options.bad) return Status();
              return Status(Code::internal, "the catalog is not what was written");
            }));
  figures.push_back(std::move(catalog));
  return figures;
}

void print(const Options& options, const std::vector<Figure>& figures) {
  if (options.json) {
    std::printf("{\"checkpoints\": %llu, \"bad\": %llu, \"tensors\": %llu, \"median_ms\": {",
                static_cast<unsigned long long>(options.checkpoints), static_cast<unsigned long long>(options.bad),
                static_cast<unsigned long long>(options.tensors));
    for (std::size_t i = 0; i < figures.size(); ++i) {
      std::printf("%s\"%s\": %.3f", i == 0 ? "" : ", ", figures[i].what.c_str(), figures[i].median_ms);
    }
    std::printf("}}\n");
    return;
  }
  std::printf("%llu checkpoints of %llu tensors, %llu with bad manifests, %llu times each\n",
              static_cast<unsigned long long>(options.checkpoints), static_cast<unsigned long long>(options.tensors),
              static_cast<unsigned long long>(options.bad), static_cast<unsigned long long>(options.repeat));
  std::printf("%-16s %12s %12s\n", "", "median ms", "worst ms");
  for (const Figure& figure : figures) {
    std::printf("%-16s %12.2f %12.2f\n", figure.what.c_str(), figure.median_ms, figure.worst_ms);
  }
}

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--json") {
      options.json = true;
      continue;
    }
    std::uint64_t* const target = word == "--checkpoints" ? &options.checkpoints
                                  : word == "--bad"       ? &options.bad
                                  : word == "--tensors"   ? &options.tensors
                                  : word == "--repeat"    ? &options.repeat
                                                          : nullptr;
    if (target == nullptr || i + 1 == argc) return false;
    const std::string number = argv[++i];
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), *target);
    if (error != std::errc() || end != number.data() + number.size() || *target == 0) return false;
  }
  return options.bad < options.checkpoints;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!parse(argc, argv, options)) {
    std::fprintf(stderr, "usage: choose_bench [--json] [--checkpoints N] [--bad N] [--tensors N] [--repeat N]\n");
    return 2;
  }
  std::string directory = (std::filesystem::temp_directory_path() / "choose-bench-XXXXXX").string();
  if (mkdtemp(directory.data()) == nullptr) {
    std::perror("choose_bench: making a temporary directory");
    return 1;
  }
  const auto figures = run(options, directory);
  std::filesystem::remove_all(directory);
  if (!figures.ok()) {
    std::fprintf(stderr, "choose_bench: %s\n", figures.status().message().c_str());
    return 1;
  }
  print(options, *figures);
  return 0;
}
