#include "apps/diff_text.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/table.hpp"
#include "base/bytes.hpp"

namespace stillframe::apps {
namespace {

using interop::ChangeKind;
using interop::CheckpointDiff;
using interop::TensorChange;
using interop::TensorDifference;
using nlohmann::ordered_json;

constexpr std::size_t kValueCells = 60;

std::size_t count_of(const CheckpointDiff& diff, ChangeKind kind) {
  return static_cast<std::size_t>(
      std::ranges::count_if(diff.tensors, [kind](const TensorChange& c) { return c.kind == kind; }));
}

std::uint64_t values_total(const CheckpointDiff& diff) {
  std::uint64_t total = 0;
  for (const auto& rank : diff.values) total += rank.values.total;
  return total;
}

std::string type_text(const Entry& entry) { return std::string(dtype_name(entry.dtype)) + " " + shape_text(entry); }

// What the figures do not say: elements that have no difference.
std::string note_of(const TensorDifference& difference) {
  if (difference.left_out == 0) return "";
  std::string text;
  const auto add = [&text](std::uint64_t count, const std::string& what) {
    if (count != 0) text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + what;
  };
  add(difference.nan_before, "NaN in A");
  add(difference.nan_after, "NaN in B");
  if (text.empty()) text = "infinite";
  return "left out of max and RMS: " + std::to_string(difference.left_out) + " (" + text + ")";
}

std::vector<std::string> cells_of(const TensorChange& change) {
  const TensorDifference& d = change.difference;
  switch (change.kind) {
    case ChangeKind::values:
      return {change.after.name,
              type_text(change.after),
              percent(d.changed, d.elements),
              number_text(d.max_difference),
              number_text(d.rms_difference()),
              note_of(d)};
    case ChangeKind::layout:
      return {
          change.after.name, type_text(change.after), "", "", "", "was " + type_text(change.before) + ": not compared"};
    case ChangeKind::added:
      return {change.after.name, type_text(change.after), "", "", "", "only in B"};
    case ChangeKind::removed:
      return {change.before.name, type_text(change.before), "", "", "", "only in A"};
  }
  return {};
}

std::string tensors_table(const CheckpointDiff& diff, bool with_rank) {
  std::vector<Column> columns{
      {"TENSOR"}, {"TYPE"}, {"CHANGED", Align::right}, {"MAX DIFF", Align::right}, {"RMS DIFF", Align::right},
      {"NOTE"}};
  if (with_rank) columns.insert(columns.begin(), {"RANK", Align::right});
  Table table(std::move(columns));
  for (const TensorChange& change : diff.tensors) {
    std::vector<std::string> cells = cells_of(change);
    if (with_rank) cells.insert(cells.begin(), std::to_string(change.rank));
    table.add_row(std::move(cells));
  }
  return diff.tensors.empty() ? "" : table.to_text() + "\n";
}

std::string value_text(const std::optional<std::string>& node) {
  if (!node) return "(absent)";
  return shortened(*node, kValueCells);
}

std::string values_table(const CheckpointDiff& diff, bool with_rank) {
  std::vector<Column> columns{{"VALUE"}, {"A"}, {"B"}};
  if (with_rank) columns.insert(columns.begin(), {"RANK", Align::right});
  Table table(std::move(columns));
  std::uint64_t shown = 0;
  for (const auto& rank : diff.values) {
    for (const interop::ValueChange& change : rank.values.changes) {
      std::vector<std::string> cells{change.path.empty() ? "(the whole state)" : change.path, value_text(change.before),
                                     value_text(change.after)};
      if (with_rank) cells.insert(cells.begin(), std::to_string(rank.rank));
      table.add_row(std::move(cells));
      ++shown;
    }
  }
  if (shown == 0) return "";
  const std::uint64_t more = values_total(diff) - shown;
  return table.to_text() + (more != 0 ? "... and " + std::to_string(more) + " more\n" : "") + "\n";
}

std::string ranks_text(const CheckpointDiff& diff) {
  std::string text;
  for (const std::uint32_t rank : diff.ranks_removed) text += "rank " + std::to_string(rank) + ": only in A\n";
  for (const std::uint32_t rank : diff.ranks_added) text += "rank " + std::to_string(rank) + ": only in B\n";
  return text;
}

std::string heading(const std::string& label, const DiffedCheckpoint& one) {
  return printable(label + "  " + one.store + "  " + one.name + "  (run " + one.run + ", step " +
                   std::to_string(one.step) + ")") +
         "\n";
}

std::string verdict(const CheckpointDiff& diff) {
  const auto count = [&diff](ChangeKind kind) { return std::to_string(count_of(diff, kind)); };
  const std::string read = base::human_bytes(diff.compared_bytes) + " compared, " +
                           base::human_bytes(diff.skipped_bytes) + " known to be equal by their hashes and not read\n";
  if (diff.equal()) return "equal: " + std::to_string(diff.equal_tensors) + " tensor(s); " + read;
  return "different: " + count(ChangeKind::values) + " tensor(s) changed, " + count(ChangeKind::layout) +
         " of another dtype or shape, " + count(ChangeKind::added) + " added, " + count(ChangeKind::removed) +
         " removed, " + std::to_string(diff.equal_tensors) + " equal; " + std::to_string(values_total(diff)) +
         " value(s) outside the tensors\n" + read;
}

ordered_json checkpoint_json(const DiffedCheckpoint& one) {
  return {{"store", one.store}, {"name", one.name}, {"run", one.run}, {"step", one.step}};
}

ordered_json changed_json(const TensorChange& change) {
  const TensorDifference& d = change.difference;
  return {{"rank", change.rank},
          {"name", change.after.name},
          {"dtype", dtype_name(change.after.dtype)},
          {"shape", change.after.shape},
          {"elements", d.elements},
          {"changed_elements", d.changed},
          {"changed_share", static_cast<double>(d.changed) / static_cast<double>(d.elements)},
          {"max_difference", d.max_difference},
          {"rms_difference", d.rms_difference()},
          {"left_out", d.left_out},
          {"nan_before", d.nan_before},
          {"nan_after", d.nan_after}};
}

ordered_json type_json(const Entry& entry) { return {{"dtype", dtype_name(entry.dtype)}, {"shape", entry.shape}}; }

ordered_json tensors_json(const CheckpointDiff& diff, ChangeKind kind) {
  ordered_json list = ordered_json::array();
  for (const TensorChange& change : diff.tensors) {
    if (change.kind != kind) continue;
    if (kind == ChangeKind::values) {
      list.push_back(changed_json(change));
      continue;
    }
    const Entry& entry = kind == ChangeKind::removed ? change.before : change.after;
    ordered_json item = {{"rank", change.rank}, {"name", entry.name}};
    if (kind == ChangeKind::layout) {
      item["before"] = type_json(change.before);
      item["after"] = type_json(change.after);
    } else {
      item.update(type_json(entry));
      item["bytes"] = entry.bytes;
    }
    list.push_back(std::move(item));
  }
  return list;
}

ordered_json values_json(const CheckpointDiff& diff) {
  ordered_json list = ordered_json::array();
  for (const auto& rank : diff.values) {
    for (const interop::ValueChange& change : rank.values.changes) {
      ordered_json item = {{"rank", rank.rank}, {"path", change.path}};
      if (change.before) item["before"] = ordered_json::parse(*change.before, nullptr, false);
      if (change.after) item["after"] = ordered_json::parse(*change.after, nullptr, false);
      list.push_back(std::move(item));
    }
  }
  return list;
}

}  // namespace

std::string diff_text(const DiffedCheckpoint& a, const DiffedCheckpoint& b, const CheckpointDiff& diff) {
  const auto beyond_first = [](const auto& one) { return one.rank != 0; };
  const bool with_rank =
      std::ranges::any_of(diff.tensors, beyond_first) || std::ranges::any_of(diff.values, beyond_first);
  return heading("A", a) + heading("B", b) + "\n" + tensors_table(diff, with_rank) + values_table(diff, with_rank) +
         ranks_text(diff) + verdict(diff);
}

ordered_json diff_json(const DiffedCheckpoint& a, const DiffedCheckpoint& b, const CheckpointDiff& diff) {
  return {{"a", checkpoint_json(a)},
          {"b", checkpoint_json(b)},
          {"equal", diff.equal()},
          {"tensors",
           {{"equal", diff.equal_tensors},
            {"changed", count_of(diff, ChangeKind::values)},
            {"layout_changed", count_of(diff, ChangeKind::layout)},
            {"added", count_of(diff, ChangeKind::added)},
            {"removed", count_of(diff, ChangeKind::removed)}}},
          {"changed", tensors_json(diff, ChangeKind::values)},
          {"layout_changed", tensors_json(diff, ChangeKind::layout)},
          {"added", tensors_json(diff, ChangeKind::added)},
          {"removed", tensors_json(diff, ChangeKind::removed)},
          {"values", values_json(diff)},
          {"values_total", values_total(diff)},
          {"ranks_added", diff.ranks_added},
          {"ranks_removed", diff.ranks_removed},
          {"compared_bytes", diff.compared_bytes},
          {"skipped_bytes", diff.skipped_bytes}};
}

}  // namespace stillframe::apps
