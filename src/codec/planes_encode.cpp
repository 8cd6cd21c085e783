#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "base/bytes.hpp"
#include "codec/plan.hpp"
#include "codec/plane_kernels.hpp"
#include "codec/plane_method.hpp"
#include "codec/planes_codec.hpp"
#include "codec/planes_lz4.hpp"

namespace stillframe::codec {
namespace {

constexpr std::uint8_t kRaw = 0;

bool all_raw(const RunDecision& decision) noexcept {
  return std::all_of(decision.methods.begin(), decision.methods.end(),
                     [](std::uint8_t method) { return method == kRaw; });
}

// What was remembered may be of another chunk, or of nothing at all: it must never make a payload that no decoder
// takes.
bool fits(const RunDecision& decision, const ElementRun& run) noexcept {
  return decision.element_bytes == run.element_bytes && (!decision.rotated || can_rotate(run.element_bytes)) &&
         std::all_of(decision.methods.begin(), decision.methods.end(), is_method);
}

bool usable(const Decisions& decisions, Level level, std::span<const ElementRun> runs) noexcept {
  if (decisions.level != level || decisions.uses >= kUsesOfASample ||
      decisions.known_runs != std::min(runs.size(), Decisions::kRuns)) {
    return false;
  }
  return std::equal(decisions.runs.begin(), decisions.runs.begin() + decisions.known_runs, runs.begin(), fits);
}

// Decisions of the chunk's first runs: those that were remembered, or new ones.
void renew(Decisions& decisions, Level level, std::span<const std::byte> raw, std::span<const ElementRun> runs,
           Context& context) {
  if (usable(decisions, level, runs)) {
    ++decisions.uses;
    return;
  }
  decisions = {};
  decisions.level = level;
  decisions.known_runs = static_cast<std::uint8_t>(std::min(runs.size(), Decisions::kRuns));
  std::size_t at = 0;
  for (std::size_t r = 0; r < decisions.known_runs; ++r) {
    decisions.runs[r] = plan_run(raw.subspan(at, runs[r].bytes), runs[r].element_bytes, level, context);
    at += runs[r].bytes;
  }
}

void take_differences(std::span<const std::byte> plane, std::span<std::byte> differences) noexcept {
  differences[0] = plane[0];
  for (std::size_t i = 1; i < plane.size(); ++i) {
    differences[i] =
        static_cast<std::byte>(std::to_integer<unsigned>(plane[i]) - std::to_integer<unsigned>(plane[i - 1]));
  }
}

// Bytes that count at the start of `out`, 0 when the method does not pay for this plane.
std::size_t encode_plane(std::uint8_t method, std::span<const std::byte> plane, std::span<std::byte> out,
                         Context& context) {
  const std::size_t limit = plane.size() * kWorthwhilePercent / 100;
  const PlaneMethod* const way = find_method(method_id(method));
  if (way == nullptr || limit == 0) return 0;
  if (has_differences(method)) {
    take_differences(plane, context.second().first(plane.size()));
    plane = context.second().first(plane.size());
  }
  const std::size_t bytes = way->encode(plane, out, context);
  return bytes <= limit ? bytes : 0;
}

class RunWriter {
 public:
  RunWriter(std::span<std::byte> out, std::size_t header_bytes, std::size_t runs) noexcept
      : out_(out), at_(header_bytes) {
    base::store_le(out_, 0, static_cast<std::uint16_t>(runs));
  }

  [[nodiscard]] std::size_t bytes() const noexcept { return at_; }
  // A plane was not worth what its decision says.
  [[nodiscard]] bool has_failed() const noexcept { return failed_; }

  // `decision` says afterwards what was done.
  void add(std::span<const std::byte> elements, RunDecision& decision, Context& context) {
    const std::size_t width = decision.element_bytes;
    base::store_le(out_, field_, static_cast<std::uint32_t>(elements.size()));
    out_[field_ + 4] = static_cast<std::byte>(width);
    out_[field_ + 5] = std::byte{decision.rotated};
    field_ += kPlanRunBytes;
    const auto planes = split(elements, decision, context);
    const std::size_t count = elements.size() / width;
    for (std::size_t p = 0; p < width; ++p) add_plane({planes[p], count}, decision.methods[p], context);
  }

 private:
  // Planes that are stored as they are go to their place at once, as long as that place is known.
  [[nodiscard]] std::array<std::byte*, kMostPlanes> split(std::span<const std::byte> elements,
                                                          const RunDecision& decision, Context& context) const {
    const std::size_t width = decision.element_bytes;
    const std::size_t count = elements.size() / width;
    std::array<std::byte*, kMostPlanes> planes{};
    std::size_t place = at_;
    bool place_known = true;
    for (std::size_t p = 0; p < width; ++p) {
      place_known = place_known && decision.methods[p] == kRaw;
      planes[p] = place_known ? out_.data() + place : context.planes().data() + p * count;
      place += count;
    }
    best_kernels().split[width_index(width)](elements.data(), count, decision.rotated, planes.data());
    return planes;
  }

  void add_plane(std::span<const std::byte> plane, std::uint8_t& method, Context& context) {
    std::size_t stored = method == kRaw ? 0 : encode_plane(method, plane, out_.subspan(at_), context);
    if (stored == 0) {
      failed_ = failed_ || method != kRaw;
      method = kRaw;
      stored = plane.size();
      if (plane.data() != out_.data() + at_) std::memcpy(out_.data() + at_, plane.data(), plane.size());
    }
    out_[field_] = std::byte{method};
    base::store_le(out_, field_ + 1, static_cast<std::uint32_t>(stored));
    field_ += kPlanPlaneBytes;
    at_ += stored;
  }

  std::span<std::byte> out_;
  std::size_t field_ = kPlanRunCountBytes;
  std::size_t at_;
  bool failed_ = false;
};

}  // namespace

std::size_t encode_by_plan(Level level, std::span<const std::byte> raw, std::span<const ElementRun> runs,
                           std::span<std::byte> out, Decisions& decisions, Context& context) {
  const std::size_t limit = (raw.size() * kWorthwhilePercent + 99) / 100;  // the result must be smaller
  std::size_t header_bytes = kPlanRunCountBytes;
  for (const ElementRun& run : runs) header_bytes += plan_header_bytes(run.element_bytes);
  if (runs.size() > std::numeric_limits<std::uint16_t>::max() ||
      header_bytes > raw.size() * (100 - kWorthwhilePercent) / 100) {
    return 0;
  }
  renew(decisions, level, raw, runs, context);
  const auto known = std::span(decisions.runs).first(decisions.known_runs);
  if (known.size() == runs.size() && std::all_of(known.begin(), known.end(), all_raw)) return 0;

  RunWriter writer(out, header_bytes, runs.size());
  std::size_t at = 0;
  for (std::size_t r = 0; r < runs.size(); ++r) {
    const auto elements = raw.subspan(at, runs[r].bytes);
    if (r < known.size()) {
      writer.add(elements, known[r], context);
    } else {
      RunDecision decision = plan_run(elements, runs[r].element_bytes, level, context);
      writer.add(elements, decision, context);
    }
    at += runs[r].bytes;
  }
  const bool worthwhile = writer.bytes() < limit;
  // The chunk is no longer what the sample saw: the next time it is sampled anew.
  if (writer.has_failed() || !worthwhile) decisions.uses = kUsesOfASample;
  return worthwhile ? writer.bytes() : 0;
}

}  // namespace stillframe::codec
