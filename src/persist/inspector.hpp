// Alarms: what the bytes of a snapshot, beside those of the one before, say about the training. Pure: fed with raw chunks
// on the encoder threads, asked once at the end.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/checksum.hpp"
#include "format/image.hpp"
#include "format/metric_entries.hpp"
#include "format/tree_facts.hpp"

namespace stillframe::persist {

// The kinds; docs/alarms.md gives them in words.
inline constexpr std::string_view kStaleState = "stale_state";
inline constexpr std::string_view kStaleTensors = "stale_tensors";
inline constexpr std::string_view kStepCountersDisagree = "step_counters_disagree";
inline constexpr std::string_view kNonFiniteLoss = "non_finite_loss";

struct FoundAlarm {
  std::string kind;
  std::string text;     // for people
  std::string subject;  // equal when the next snapshot has the same trouble again, whatever its step
};

// What is kept of a snapshot for the comparison with the next: 16 bytes for each piece of a trained tensor (at most 1 MiB,
// cut at the chunks' borders), and the tensors' names.
struct Remembered {
  // changed: from the snapshot before this one. stale: it changed once and has stood still since.
  enum class Habit : std::uint8_t { unknown, changed, unchanged, stale };
  struct Tensor {
    std::string name;
    std::uint64_t offset = 0;  // in the image
    std::uint64_t bytes = 0;
    std::size_t first_piece = 0;
    Habit habit = Habit::unknown;
  };
  std::int64_t step = 0;
  std::vector<Tensor> tensors;         // trained and not empty, by offset
  std::vector<base::Hash128> pieces;   // in the order of the image
  std::vector<FoundAlarm> stale;       // what the comparison said; stands while the same step is taken again
};

struct Findings {
  std::vector<FoundAlarm> alarms;
  Remembered remembered;
};

// Of one snapshot.
class Inspector {
 public:
  // `metrics`: whose numbers are wanted.
  Inspector(const format::ImageLayout& layout, const format::TreeFacts& facts,
            std::span<const format::MetricEntry> metrics = {});

  // `raw`: the whole chunk, `hash`: of it. Each chunk at least once; different chunks from many threads at once.
  void look(std::uint64_t chunk, std::span<const std::byte> raw, const base::Hash128& hash) noexcept;
  // After the last look() has returned: one for each of `metrics`.
  [[nodiscard]] const std::vector<format::MetricElement>& metric_elements() const noexcept { return metric_elements_; }
  // Likewise, once. `before`: the snapshot before of this session; nullptr when there is none.
  // `loss`: the metric of that name, when it is a number.
  [[nodiscard]] Findings finish(std::int64_t step, const Remembered* before, std::optional<double> loss) &&;

 private:
  struct Counter {
    format::StepCounter fact;
    std::array<std::byte, 8> element{};
    bool seen = false;
  };
  void look_at_metrics(std::uint64_t begin, std::span<const std::byte> raw) noexcept;
  void look_at_counters(std::uint64_t begin, std::span<const std::byte> raw) noexcept;
  [[nodiscard]] std::vector<FoundAlarm> compare(const Remembered* before);
  [[nodiscard]] std::optional<FoundAlarm> compare_counters() const;

  Remembered now_;
  std::vector<Counter> counters_;     // those in the image, by offset
  std::vector<Counter> in_the_tree_;  // those whose value the tree holds
  const std::vector<format::MetricEntry> metrics_;
  std::vector<format::MetricElement> metric_elements_;
};

}  // namespace stillframe::persist
