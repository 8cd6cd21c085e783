// stillframe show: one checkpoint in full.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands.hpp"
#include "apps/exit_code.hpp"
#include "apps/json_text.hpp"
#include "apps/lookup.hpp"
#include "apps/table.hpp"
#include "base/bytes.hpp"
#include "codec/codec.hpp"
#include "format/writer_words.hpp"
#include "store/reader.hpp"

namespace stillframe::apps {
namespace {

using nlohmann::ordered_json;

struct ShowOptions {
  std::string address;
  bool json = false;
  bool tensors = false;
};

using Counts = std::map<std::string, std::uint64_t>;

Counts chunks_by_codec(const format::ChunkTable& table) {
  Counts counts;
  for (const format::ChunkRecord& record : table.chunks) ++counts[std::string(codec::codec_name(record.codec))];
  return counts;
}

std::string location_name(format::LocationKind location) {
  switch (location) {
    case format::LocationKind::own_bytes:
      return "own";
    case format::LocationKind::constant:
      return "constant";
    case format::LocationKind::shared:
      return "shared";
    case format::LocationKind::derived:
      return "derived";
  }
  return "?";
}

Counts chunks_by_location(const format::ChunkTable& table) {
  Counts counts;
  for (const format::ChunkRecord& record : table.chunks) ++counts[location_name(record.location)];
  return counts;
}

std::string counts_text(const Counts& counts) {
  std::string text;
  for (const auto& [what, count] : counts) text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + what;
  return text;
}

std::uint64_t tensor_count(const format::Manifest& manifest) {
  std::uint64_t count = 0;
  for (const format::RankManifest& rank : manifest.ranks) count += rank.layout.entries.size();
  return count;
}

// What the writer said. Of a plain safetensors file there is nothing to say: it is raw. Empty for earlier builds'
// encoding.
std::string level_text(const format::Manifest& manifest) {
  const std::string_view said = format::said_level(manifest.writer);
  if (!said.empty()) return std::string(said);
  const bool plain = std::all_of(manifest.ranks.begin(), manifest.ranks.end(),
                                 [](const format::RankManifest& rank) { return rank.data.start != 0; });
  return plain ? std::string(codec::level_name(codec::Level::raw)) : "";
}

ordered_json rank_json(const store::CheckpointReader& reader, std::size_t index, bool tensors) {
  const format::RankManifest& rank = reader.manifest().ranks[index];
  ordered_json shared = ordered_json::array();
  for (const format::SharedFile& file : rank.shared) {
    shared.push_back({{"file", file.file}, {"bytes", file.bytes}, {"from", file.from}});
  }
  ordered_json result = {{"rank", rank.rank},
                         {"data_file", rank.data.file},
                         {"data_bytes", rank.data.bytes},
                         {"table_file", rank.table.file},
                         {"table_bytes", rank.table.bytes},
                         {"shared", std::move(shared)},
                         {"raw_bytes", rank.layout.bytes},
                         {"chunks", rank.layout.chunk_count()},
                         {"chunks_by_codec", chunks_by_codec(reader.table(index))},
                         {"chunks_by_location", chunks_by_location(reader.table(index))},
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

void print_json(const Located& found, const store::CheckpointReader& reader, bool tensors) {
  const format::Manifest& manifest = reader.manifest();
  ordered_json document = {{"store", found.store.path()}};
  document.update(to_json(found.checkpoint));
  document["created_utc"] = manifest.created_utc;
  document["id"] = manifest.id;
  document["group"] = manifest.group;
  document["writer"] = manifest.writer;
  document["checked"] = format::says_checked(manifest.writer);
  document["format_version"] = manifest.version;
  document["level"] = text_or_null(level_text(manifest));
  document["tensors"] = tensor_count(manifest);
  document["why"] = text_or_null(found.why);
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

void print_line(const std::string& label, const std::string& value) {
  std::cout << label << std::string(11 - std::min<std::size_t>(label.size(), 10), ' ') << printable(value) << '\n';
}

void print_rank(const store::CheckpointReader& reader, std::size_t index) {
  const format::RankManifest& rank = reader.manifest().ranks[index];
  print_line("rank " + std::to_string(rank.rank), rank.data.file + ", " + base::human_bytes(rank.data.bytes) + ", " +
                                                      std::to_string(rank.layout.chunk_count()) + " chunk(s): " +
                                                      counts_text(chunks_by_codec(reader.table(index))) + "; " +
                                                      counts_text(chunks_by_location(reader.table(index))));
  for (const format::SharedFile& file : rank.shared) {
    print_line("", file.file + ", " + base::human_bytes(file.bytes) + ", shared with " + file.from);
  }
}

std::string state_text(const Summary& summary) {
  std::string text = state_name(summary.state);
  if (!summary.head->confirmed) text += ", not confirmed by the fence";
  if (format::says_checked(summary.head->writer)) text += ", checked against the device";
  if (summary.pinned) text += ", pinned";
  return text;
}

void print_text(const Located& found, const store::CheckpointReader& reader, bool tensors) {
  const format::Manifest& manifest = reader.manifest();
  const Summary& summary = found.checkpoint;
  print_line("name", summary.name);
  if (!found.why.empty()) print_line("chosen", found.why);
  print_line("run", manifest.run);
  print_line("step", std::to_string(manifest.step));
  print_line("created", manifest.created_utc);
  print_line("state", state_text(summary));
  if (!summary.problem.empty()) print_line("problem", summary.problem);
  if (summary.pinned) print_line("pin", summary.pin_reason);
  for (const format::Alarm& alarm : manifest.alarms) print_line("ALARM", alarm.kind + ": " + alarm.text);
  print_line("size", before_after(manifest.raw_bytes, summary.stored_bytes) + " (" +
                         ratio(manifest.raw_bytes, summary.stored_bytes) + ")");
  if (const std::string level = level_text(manifest); !level.empty()) print_line("level", level);
  print_line("format", "version " + std::to_string(manifest.version));
  print_line("tensors", std::to_string(tensor_count(manifest)));
  print_line("group", manifest.group + ", " + std::to_string(manifest.world_size) + " rank(s)");
  print_line("metrics", manifest.metrics_json);
  print_line("writer", manifest.writer);
  print_line("id", manifest.id);
  for (std::size_t i = 0; i < manifest.ranks.size(); ++i) print_rank(reader, i);
  if (!tensors) return;
  for (const format::RankManifest& rank : manifest.ranks) print_tensors(rank);
}

Status show(const ShowOptions& options) {
  SF_ASSIGN(const Located found, locate(options.address));
  SF_ASSIGN(const auto reader, store::CheckpointReader::open(found.store, found.checkpoint.name));
  if (!found.checkpoint.head) return {Code::io_error, found.checkpoint.problem};  // its marks, since the manifest opens
  options.json ? print_json(found, *reader, options.tensors) : print_text(found, *reader, options.tensors);
  return {};
}

}  // namespace

Command add_show(CLI::App& root) {
  const auto options = std::make_shared<ShowOptions>();
  CLI::App* parser = root.add_subcommand("show", "Show one checkpoint: state, sizes, metrics, files, tensors");
  parser->add_option("ADDRESS", options->address, std::string(kAddressHelp))->required();
  parser->add_flag("--json", options->json, "one JSON document for programs, sizes in bytes");
  parser->add_flag("--tensors", options->tensors, "list every tensor: dtype, shape, bytes, offset in the image");
  parser->footer(
      "Reads manifest and chunk tables, not the data: `stillframe verify` does that. Each alarm is printed.\n\n"
      "JSON: store, why (of @best and @before-nan), the members of `ls`, id, group, writer, checked, format_version, "
      "level, "
      "tensors, ranks\n"
      "[{rank, data_file, data_bytes, table_file, table_bytes, shared, raw_bytes, chunks, chunks_by_codec,\n"
      "chunks_by_location, tensors}]; with --tensors each rank has entries [{name, dtype, shape, offset, bytes}].\n\n"
      "Example:\n  stillframe show runs/gpt@latest --tensors\n  stillframe show runs/gpt:main@1000 --json\n\n" +
      std::string(kExitCodesHelp));
  return {parser, [options] { return report("stillframe show", show(*options)); }};
}

}  // namespace stillframe::apps
