#include "persist/inspector.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <unordered_map>
#include <utility>

#include "base/bytes.hpp"
#include "stillframe/types.hpp"

namespace stillframe::persist {
namespace {

using Habit = Remembered::Habit;
using Tensor = Remembered::Tensor;

constexpr std::size_t kNamesShown = 3;
constexpr std::size_t kNameBytesShown = 120;

std::size_t pieces_of(const Tensor& tensor) noexcept {
  return (tensor.offset + tensor.bytes - 1) / kChunkBytes - tensor.offset / kChunkBytes + 1;
}

// "'a', 'b', 'c' and 4 more"
std::string list_names(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kNamesShown); ++i) {
    const std::string_view shown = base::utf8_prefix(names[i], kNameBytesShown);
    text += i == 0 ? "'" : ", '";
    text += std::string(shown) + (shown.size() < names[i].size() ? "…'" : "'");
  }
  if (names.size() > kNamesShown) text += " and " + std::to_string(names.size() - kNamesShown) + " more";
  return text;
}

std::string number(double value) {
  const bool whole = value == std::floor(value) && std::abs(value) < 9e15;
  return whole ? std::to_string(static_cast<std::int64_t>(value)) : std::to_string(value);
}

std::string steps_of(std::int64_t now, std::int64_t before) {
  return "in the snapshots of step " + std::to_string(before) + " and step " + std::to_string(now);
}

double value_of(DType dtype, std::span<const std::byte, 8> element) noexcept {
  const auto as = [&]<typename T>(T value) {
    std::memcpy(&value, element.data(), sizeof value);
    return static_cast<double>(value);
  };
  switch (dtype) {
    case DType::f32: return as(float{});
    case DType::f64: return as(double{});
    case DType::i32: return as(std::int32_t{});
    case DType::u32: return as(std::uint32_t{});
    case DType::i64: return as(std::int64_t{});
    default: return as(std::uint64_t{});
  }
}

FoundAlarm stale_state(std::size_t tensors, std::int64_t now, std::int64_t before) {
  return {std::string(kStaleState),
          "nothing was trained: all " + std::to_string(tensors) + " trainable tensors are bit-identical " +
              steps_of(now, before) +
              ". The checkpoint is right; look at the training: is optimizer.step() reached, does the optimizer hold the "
              "tensors of this model, is the learning rate 0, does the gradient scaler skip every step? Expected only "
              "while one update is spread over several of these steps",
          ""};
}

FoundAlarm stale_tensors(const std::vector<std::string>& names, std::size_t tensors, std::int64_t now,
                         std::int64_t before) {
  const std::string count = std::to_string(names.size()) + " of " + std::to_string(tensors);
  return {std::string(kStaleTensors),
          count + " trainable tensors have stopped changing while others go on: bit-identical " + steps_of(now, before) +
              ", changed before: " + list_names(names) +
              ". Do gradients still reach them, and are they still in the optimizer? Expected after freezing them by "
              "hand, and where updates are too small for a 16-bit weight",
          std::to_string(names.size()) + list_names(names)};
}

std::optional<FoundAlarm> non_finite_loss(std::int64_t step, std::optional<double> loss) {
  if (!loss || std::isfinite(*loss)) return std::nullopt;
  const std::string value = std::isnan(*loss) ? "NaN" : *loss > 0 ? "infinite" : "minus infinity";
  return FoundAlarm{std::string(kNonFiniteLoss),
                    "the loss is " + value + " at step " + std::to_string(step) +
                        ": this checkpoint may hold damaged weights already; the address @before-nan names the newest "
                        "checkpoint before the first such loss",
                    ""};
}

// Counters of one optimizer by value, each with the paths in the order of the tree.
using ByValue = std::map<double, std::vector<std::string>>;

FoundAlarm disagreement(const ByValue& by_value) {
  const auto& [least, behind] = *by_value.begin();
  const auto& [most, ahead] = *by_value.rbegin();
  std::size_t total = 0;
  for (const auto& [value, paths] : by_value) total += paths.size();
  const std::size_t between = total - behind.size() - ahead.size();
  std::string text = "the step counters of an optimizer differ inside this snapshot: " + std::to_string(behind.size()) +
                     " at " + number(least) + " (" + list_names(behind) + "), ";
  if (between != 0) text += std::to_string(between) + " between, ";
  text += std::to_string(ahead.size()) + " at " + number(most) + " (" + list_names(ahead) +
          "). Some parameters missed updates, or part of the optimizer's state is from another step. Expected only for "
          "parameters that joined later or had no gradient in some steps";
  return {std::string(kStepCountersDisagree), std::move(text), std::to_string(behind.size()) + list_names(behind)};
}

}  // namespace

Inspector::Inspector(const format::ImageLayout& layout, const format::TreeFacts& facts,
                     std::span<const format::MetricEntry> metrics)
    : metrics_(metrics.begin(), metrics.end()), metric_elements_(metrics.size()) {
  std::size_t pieces = 0;
  for (std::size_t i = 0; i < layout.entries.size(); ++i) {
    const Entry& entry = layout.entries[i];
    if (i >= facts.trainable.size() || !facts.trainable[i] || entry.bytes == 0) continue;
    now_.tensors.push_back({entry.name, entry.offset, entry.bytes, pieces, Habit::unknown});
    pieces += pieces_of(now_.tensors.back());
  }
  now_.pieces.resize(pieces);
  for (const format::StepCounter& fact : facts.step_counters) {
    (fact.value ? in_the_tree_ : counters_).push_back({fact, {}, false});
  }
  std::stable_sort(counters_.begin(), counters_.end(), [](const Counter& a, const Counter& b) {
    return a.fact.image_offset < b.fact.image_offset;
  });
}

// Chunks share no piece, no counter and no metric, so that threads need no lock.
void Inspector::look(std::uint64_t chunk, std::span<const std::byte> raw, const base::Hash128& hash) noexcept {
  const std::uint64_t begin = chunk * kChunkBytes;
  const std::uint64_t end = begin + raw.size();
  auto tensor = std::partition_point(now_.tensors.begin(), now_.tensors.end(),
                                     [&](const Tensor& one) { return one.offset + one.bytes <= begin; });
  for (; tensor != now_.tensors.end() && tensor->offset < end; ++tensor) {
    const std::uint64_t from = std::max(begin, tensor->offset);
    const std::uint64_t to = std::min(end, tensor->offset + tensor->bytes);
    const bool whole = from == begin && to == end;
    now_.pieces[tensor->first_piece + (chunk - tensor->offset / kChunkBytes)] =
        whole ? hash : base::xxh128(raw.subspan(from - begin, to - from));
  }
  look_at_counters(begin, raw);
  look_at_metrics(begin, raw);
}

void Inspector::look_at_metrics(std::uint64_t begin, std::span<const std::byte> raw) noexcept {
  for (std::size_t i = 0; i < metrics_.size(); ++i) {
    const std::uint64_t offset = metrics_[i].image_offset;
    if (offset < begin || offset >= begin + raw.size()) continue;
    std::memcpy(metric_elements_[i].data(), raw.data() + (offset - begin), dtype_bytes(metrics_[i].dtype));
  }
}

void Inspector::look_at_counters(std::uint64_t begin, std::span<const std::byte> raw) noexcept {
  auto counter = std::partition_point(counters_.begin(), counters_.end(),
                                      [&](const Counter& one) { return one.fact.image_offset < begin; });
  for (; counter != counters_.end() && counter->fact.image_offset < begin + raw.size(); ++counter) {
    const std::uint64_t at = counter->fact.image_offset - begin;
    const std::uint32_t width = dtype_bytes(counter->fact.dtype);
    if (width > raw.size() - at) continue;  // a view of bytes may lie across a border
    std::memcpy(counter->element.data(), raw.data() + at, width);
    counter->seen = true;
  }
}

Findings Inspector::finish(std::int64_t step, const Remembered* before, std::optional<double> loss) && {
  now_.step = step;
  Findings findings;
  findings.alarms = compare(before);
  now_.stale = findings.alarms;
  if (auto found = compare_counters()) findings.alarms.push_back(std::move(*found));
  if (auto found = non_finite_loss(step, loss)) findings.alarms.push_back(std::move(*found));
  findings.remembered = std::move(now_);
  return findings;
}

std::vector<FoundAlarm> Inspector::compare(const Remembered* before) {
  if (before == nullptr || now_.tensors.empty()) return {};
  const bool advanced = now_.step > before->step;
  std::unordered_map<std::string_view, const Tensor*> by_name;
  by_name.reserve(before->tensors.size());
  for (const Tensor& tensor : before->tensors) by_name.emplace(tensor.name, &tensor);
  std::size_t same = 0;
  std::vector<std::string> stopped;
  for (Tensor& tensor : now_.tensors) {
    const auto found = by_name.find(tensor.name);
    // Pieces of another cut are no measure: that tensor is judged anew from here on.
    const Tensor* const old = found != by_name.end() && found->second->bytes == tensor.bytes &&
                                      found->second->offset % kChunkBytes == tensor.offset % kChunkBytes
                                  ? found->second
                                  : nullptr;
    if (old == nullptr) continue;
    const auto pieces = now_.pieces.begin() + static_cast<std::ptrdiff_t>(tensor.first_piece);
    const bool equal = std::equal(pieces, pieces + static_cast<std::ptrdiff_t>(pieces_of(tensor)),
                                  before->pieces.begin() + static_cast<std::ptrdiff_t>(old->first_piece));
    if (!equal) {
      tensor.habit = Habit::changed;
      continue;
    }
    ++same;
    // The same step again says nothing: what the tensor did before stays in force.
    const bool moved_once = old->habit == Habit::changed || old->habit == Habit::stale;
    tensor.habit = !advanced ? old->habit : moved_once ? Habit::stale : Habit::unchanged;
    if (tensor.habit == Habit::stale) stopped.push_back(tensor.name);
  }
  const bool as_before = same == now_.tensors.size() || !stopped.empty();
  if (!advanced) return as_before ? before->stale : std::vector<FoundAlarm>();
  if (same == now_.tensors.size()) return {stale_state(same, now_.step, before->step)};
  if (stopped.empty()) return {};
  return {stale_tensors(stopped, now_.tensors.size(), now_.step, before->step)};
}

std::optional<FoundAlarm> Inspector::compare_counters() const {
  std::map<std::size_t, ByValue> optimizers;
  for (const Counter& counter : counters_) {
    if (!counter.seen) continue;
    const double value = value_of(counter.fact.dtype, counter.element);
    if (!std::isnan(value)) optimizers[counter.fact.optimizer][value].push_back(counter.fact.path);
  }
  for (const Counter& counter : in_the_tree_) {
    optimizers[counter.fact.optimizer][*counter.fact.value].push_back(counter.fact.path);
  }
  for (const auto& [optimizer, by_value] : optimizers) {
    if (by_value.size() > 1) return disagreement(by_value);
  }
  return std::nullopt;
}

}  // namespace stillframe::persist
