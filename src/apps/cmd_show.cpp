// stillframe show: one checkpoint in full.
#include <CLI/CLI.hpp>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands.hpp"
#include "apps/exit_code.hpp"
#include "apps/json_text.hpp"
#include "apps/summary.hpp"
#include "apps/table.hpp"
#include "base/bytes.hpp"
#include "codec/codec.hpp"
#include "store/reader.hpp"

namespace stillframe::apps {
namespace {

using nlohmann::ordered_json;

struct ShowOptions {
  std::string address;
  bool json = false;
  bool tensors = false;
};

std::map<std::string, std::uint64_t> chunks_by_codec(const format::ChunkTable& table) {
  std::map<std::string, std::uint64_t> counts;
  for (const format::ChunkRecord& record : table.chunks) ++counts[std::string(codec::codec_name(record.codec))];
  return counts;
}

ordered_json rank_json(const store::CheckpointReader& reader, std::size_t index, bool tensors) {
  const format::RankManifest& rank = reader.manifest().ranks[index];
  ordered_json result = {{"rank", rank.rank},
                         {"data_file", rank.data.file},
                         {"data_bytes", rank.data.bytes},
                         {"table_file", rank.table.file},
                         {"table_bytes", rank.table.bytes},
                         {"raw_bytes", rank.layout.bytes},
                         {"chunks", rank.layout.chunk_count()},
                         {"chunks_by_codec", chunks_by_codec(reader.table(index))},
                         {"tensors", rank.layout.entries.size()}};
  if (!tensors) return result;
  ordered_json entries = ordered_json::array();
  for (const Entry& entry : rank.layout.entries) {
    entries.push_back({{"name", entry.name},
                       {"dtype", dtype_name(entry.dtype)},
                       {"shape", entry.shape},
                       {"offset", entry.offset},
                       {"bytes", entry.bytes}});
  }
  result["entries"] = std::move(entries);
  return result;
}

void print_json(const store::Store& store, const store::CheckpointReader& reader, const Summary& summary,
                bool tensors) {
  const format::Manifest& manifest = reader.manifest();
  ordered_json document = {{"store", store.path()}};
  document.update(to_json(summary));
  document["created_utc"] = manifest.created_utc;
  document["id"] = manifest.id;
  document["group"] = manifest.group;
  document["writer"] = manifest.writer;
  document["format_version"] = format::kFormatVersion;
  document["metrics"] = ordered_json::parse(manifest.metrics_json, nullptr, false);
  ordered_json ranks = ordered_json::array();
  for (std::size_t i = 0; i < manifest.ranks.size(); ++i) ranks.push_back(rank_json(reader, i, tensors));
  document["ranks"] = std::move(ranks);
  std::cout << json_text(document);
}

void print_tensors(const format::RankManifest& rank) {
  Table table({{"TENSOR"}, {"DTYPE"}, {"SHAPE"}, {"BYTES", Align::right}, {"OFFSET", Align::right}});
  for (const Entry& entry : rank.layout.entries) {
    table.add_row({entry.name, std::string(dtype_name(entry.dtype)), shape_text(entry), std::to_string(entry.bytes),
                   std::to_string(entry.offset)});
  }
  std::cout << "\nrank " << rank.rank << '\n' << table.to_text();
}

void print_text(const store::CheckpointReader& reader, const Summary& summary, bool tensors) {
  const format::Manifest& manifest = reader.manifest();
  const auto line = [](const std::string& label, const std::string& value) {
    std::cout << label << std::string(10 - label.size(), ' ') << printable(value) << '\n';
  };
  line("name", summary.name);
  line("run", manifest.run);
  line("step", std::to_string(manifest.step));
  line("created", manifest.created_utc);
  line("state", state_name(summary.state) + (summary.pinned ? ", pinned" : ""));
  if (!summary.problem.empty()) line("problem", summary.problem);
  line("size", before_after(summary.raw_bytes, summary.stored_bytes) + " (" +
                   ratio(summary.raw_bytes, summary.stored_bytes) + ")");
  line("tensors", std::to_string(summary.tensors));
  line("group", manifest.group + ", " + std::to_string(manifest.world_size) + " rank(s)");
  line("metrics", manifest.metrics_json);
  line("writer", manifest.writer);
  line("id", manifest.id);
  for (std::size_t i = 0; i < manifest.ranks.size(); ++i) {
    std::string codecs;
    for (const auto& [codec, count] : chunks_by_codec(reader.table(i))) {
      codecs += (codecs.empty() ? "" : ", ") + std::to_string(count) + " " + codec;
    }
    const format::RankManifest& rank = manifest.ranks[i];
    line("rank " + std::to_string(rank.rank), rank.data.file + ", " + base::human_bytes(rank.data.bytes) + ", " +
                                                  std::to_string(rank.layout.chunk_count()) + " chunk(s): " + codecs);
  }
  if (!tensors) return;
  for (const format::RankManifest& rank : manifest.ranks) print_tensors(rank);
}

Status show(const ShowOptions& options) {
  SF_ASSIGN(format::Address address, format::parse_address(options.address));
  if (address.run.empty()) address.run = "main";
  SF_ASSIGN(const store::Store store, store::Store::open(env::posix_env(), address.store));
  SF_ASSIGN(const auto newest, summaries(store, address, 1));
  if (newest.empty()) return {Code::not_found, "no checkpoint " + format::to_string(address)};
  const Summary& summary = newest.front();
  SF_ASSIGN(const auto reader, store::CheckpointReader::open(store, summary.name));
  options.json ? print_json(store, *reader, summary, options.tensors) : print_text(*reader, summary, options.tensors);
  return {};
}

}  // namespace

Command add_show(CLI::App& root) {
  const auto options = std::make_shared<ShowOptions>();
  CLI::App* parser = root.add_subcommand("show", "Show one checkpoint: state, sizes, metrics, files, tensors");
  parser->add_option("ADDRESS", options->address, "STORE[:RUN][@latest|@STEP]")->required();
  parser->add_flag("--json", options->json, "one JSON document for programs, sizes in bytes");
  parser->add_flag("--tensors", options->tensors, "list every tensor: dtype, shape, bytes, offset in the image");
  parser->footer(
      "Reads manifest and chunk tables, not the data: `stillframe verify` does that.\n\n"
      "Example:\n  stillframe show runs/gpt@latest --tensors\n  stillframe show runs/gpt:main@1000 --json\n\n" +
      std::string(kExitCodesHelp));
  return {parser, [options] { return report("stillframe show", show(*options)); }};
}

}  // namespace stillframe::apps
