#include "restore/selection.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>

namespace stillframe::restore {
namespace {

constexpr std::string_view kNonFiniteLossAlarm = "non_finite_loss";

// Of the run, newest first; the others cannot be told or do not count.
std::vector<const store::CatalogEntry*> of_run(const format::Address& address,
                                               const std::vector<store::CatalogEntry>& catalog) {
  std::vector<const store::CatalogEntry*> found;
  for (const auto& entry : catalog) {
    if (entry.head.ok() && entry.head->run == address.run) found.push_back(&entry);
  }
  return found;
}

std::string number_text(double value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

std::string names_of_metrics(const std::vector<const store::CatalogEntry*>& entries) {
  std::string names;
  if (entries.empty()) return names;
  for (const auto& [name, value] : format::metric_numbers(entries.front()->head->metrics_json)) {
    names += (names.empty() ? "" : ", ") + name;
  }
  return names;
}

std::string none_with_metric(const format::Address& address, const std::vector<const store::CatalogEntry*>& entries) {
  const std::string names = names_of_metrics(entries);
  return "none of the " + std::to_string(entries.size()) + " readable checkpoints has a finite metric '" +
         address.metric + "'" +
         (names.empty() ? "; the newest has no metrics at all" : "; the metrics of the newest are: " + names);
}

bool loss_is_not_finite(const store::CatalogEntry& entry, const std::string& metric) {
  const auto& alarms = entry.head->alarms;
  if (std::any_of(alarms.begin(), alarms.end(), [](const auto& a) { return a.kind == kNonFiniteLossAlarm; })) {
    return true;
  }
  const auto loss = format::metric_number(entry.head->metrics_json, metric);
  return loss && !std::isfinite(*loss);
}

bool loss_is_finite(const store::CatalogEntry& entry, const std::string& metric) {
  const auto loss = format::metric_number(entry.head->metrics_json, metric);
  return loss && std::isfinite(*loss) && !loss_is_not_finite(entry, metric);
}

// Oldest first: what was trained again from an earlier step replaces what came after that step.
std::vector<const store::CatalogEntry*> current_line(std::vector<const store::CatalogEntry*> newest_first) {
  std::vector<const store::CatalogEntry*> line;
  for (auto it = newest_first.rbegin(); it != newest_first.rend(); ++it) {
    while (!line.empty() && line.back()->head->step >= (*it)->head->step) line.pop_back();
    line.push_back(*it);
  }
  return line;
}

}  // namespace

Selection select_best(const format::Address& address, const std::vector<store::CatalogEntry>& catalog) {
  struct Scored {
    const store::CatalogEntry* entry;
    double value;
  };
  const auto entries = of_run(address, catalog);
  std::vector<Scored> scored;
  for (const store::CatalogEntry* entry : entries) {
    const auto value = format::metric_number(entry->head->metrics_json, address.metric);
    if (value && std::isfinite(*value)) scored.push_back({entry, *value});
  }
  // Stable: of equal ones the newest stays first.
  std::stable_sort(scored.begin(), scored.end(), [&](const Scored& a, const Scored& b) {
    return address.highest ? a.value > b.value : a.value < b.value;
  });
  Selection selection;
  const std::string superlative = address.highest ? "highest" : "lowest";
  for (std::size_t i = 0; i < scored.size(); ++i) {
    selection.candidates.push_back(
        {scored[i].entry->ref, address.metric + " " + number_text(scored[i].value) + ", the " +
                                   (i == 0 ? superlative : superlative + " but " + std::to_string(i)) + " of " +
                                   std::to_string(scored.size()) + " checkpoints with that metric"});
  }
  if (scored.empty()) selection.none = none_with_metric(address, entries);
  return selection;
}

Selection select_before_nan(const format::Address& address, const std::vector<store::CatalogEntry>& catalog) {
  const auto line = current_line(of_run(address, catalog));
  const auto not_finite = [&](const store::CatalogEntry* entry) { return loss_is_not_finite(*entry, address.metric); };
  Selection selection;
  const auto last = std::find_if(line.rbegin(), line.rend(), not_finite);
  if (last == line.rend()) {
    for (auto it = line.rbegin(); it != line.rend(); ++it) {
      selection.candidates.push_back({(*it)->ref, "the newest: no " + address.metric + " of this run was non-finite"});
    }
    if (line.empty()) selection.none = "the run has no readable checkpoint";
    return selection;
  }
  const auto streak_end = std::find_if_not(last, line.rend(), not_finite);
  const store::CatalogEntry& first_of_streak = **std::prev(streak_end);
  const std::string where = "step " + std::to_string(first_of_streak.head->step) + " (" + first_of_streak.ref.name +
                            "), where the " + address.metric + " ceased to be finite";
  for (auto it = streak_end; it != line.rend(); ++it) {
    if (loss_is_finite(**it, address.metric)) {
      selection.candidates.push_back({(*it)->ref, "the newest with a finite " + address.metric + " before " + where});
    }
  }
  if (selection.candidates.empty()) {
    selection.none = "no checkpoint of its current line has a finite " + address.metric + " before " + where;
  }
  return selection;
}

}  // namespace stillframe::restore
