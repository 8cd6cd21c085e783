#include "codec/plan.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "codec/plane_kernels.hpp"
#include "codec/plane_method.hpp"

namespace stillframe::codec {
namespace {

constexpr std::size_t kSampleBlocks = 16;
constexpr std::size_t kSampleBlockElements = 256;
constexpr std::size_t kMostSampled = kSampleBlocks * kSampleBlockElements;

// Shares of a plane. What would be stored in more than this is as good as random, and left alone.
constexpr float kWorthwhile = 7.75F / 8;
// A code of Huffman has at least one bit.
constexpr float kLeastCodeBits = 1;
// Differences cost another pass: they have to save this much.
constexpr float kDifferencesSaveBits = 0.15F;
// LZ4 is slower than the alternative where little of the plane is runs.
constexpr float kLz4Saves = 0.05F;
constexpr float kLz4RunCost = 0.02F;

using Histogram = std::array<std::uint32_t, 256>;

// n * log2(n)
float n_log_n(std::uint32_t n) noexcept {
  static const std::array<float, kMostSampled + 1> table = [] {
    std::array<float, kMostSampled + 1> values{};
    for (std::size_t i = 2; i < values.size(); ++i) {
      values[i] = static_cast<float>(static_cast<double>(i) * std::log2(static_cast<double>(i)));
    }
    return values;
  }();
  return table[n];
}

float entropy_bits(const Histogram& histogram, std::size_t total) noexcept {
  float sum = 0;
  for (const std::uint32_t hits : histogram) sum += n_log_n(hits);
  return (n_log_n(static_cast<std::uint32_t>(total)) - sum) / static_cast<float>(total);
}

// Two tables, since neighbours are often alike and one count would wait for the other.
Histogram histogram_of(std::span<const std::byte> bytes) noexcept {
  Histogram even{};
  Histogram odd{};
  std::size_t i = 0;
  for (; i + 1 < bytes.size(); i += 2) {
    ++even[std::to_integer<std::size_t>(bytes[i])];
    ++odd[std::to_integer<std::size_t>(bytes[i + 1])];
  }
  if (i < bytes.size()) ++even[std::to_integer<std::size_t>(bytes[i])];
  for (std::size_t value = 0; value < even.size(); ++value) even[value] += odd[value];
  return even;
}

// Over the borders of the sample's blocks as well: that is one byte in 256.
Histogram differences_histogram(std::span<const std::byte> bytes) noexcept {
  Histogram histogram{};
  unsigned last = 0;
  for (const std::byte byte : bytes) {
    const auto value = std::to_integer<unsigned>(byte);
    ++histogram[(value - last) & 0xFFU];
    last = value;
  }
  return histogram;
}

// The share of bytes that continue a run of equal ones, four at least.
float share_of_runs(std::span<const std::byte> bytes) noexcept {
  std::size_t equal = 0;
  for (std::size_t i = 3; i < bytes.size(); ++i) {
    equal += bytes[i] == bytes[i - 1] && bytes[i] == bytes[i - 2] && bytes[i] == bytes[i - 3] ? 1U : 0U;
  }
  return static_cast<float>(equal) / static_cast<float>(bytes.size());
}

struct PlanePlan {
  std::uint8_t method = 0;  // as in files
  float cost = 1;           // bytes stored for a byte of the plane
};

void take_if_cheaper(PlanePlan& best, MethodId method, float cost, std::uint8_t differences = 0) noexcept {
  if (cost < best.cost) best = {static_cast<std::uint8_t>(static_cast<std::uint8_t>(method) + differences), cost};
}

PlanePlan plan_plane(std::span<const std::byte> sample, Level level) noexcept {
  const Histogram histogram = histogram_of(sample);
  if (*std::max_element(histogram.begin(), histogram.end()) == sample.size()) {
    return {static_cast<std::uint8_t>(MethodId::constant), 0};
  }
  PlanePlan plan{0, kWorthwhile};
  const float bits = entropy_bits(histogram, sample.size());
  if (level == Level::fast) {
    const float escapes = static_cast<float>(best_window(histogram).escapes) / static_cast<float>(sample.size());
    take_if_cheaper(plan, MethodId::nibbles, 0.5F + escapes);
  } else {
    take_if_cheaper(plan, MethodId::literals, std::max(bits, kLeastCodeBits) / 8);
    const float differing = entropy_bits(differences_histogram(sample), sample.size());
    if (bits - std::max(differing, kLeastCodeBits) > kDifferencesSaveBits) {
      take_if_cheaper(plan, MethodId::literals, std::max(differing, kLeastCodeBits) / 8, kDifferences);
    }
  }
  const float runs = share_of_runs(sample);
  const float lz4 = 1 - runs + kLz4RunCost * runs;
  if (lz4 + kLz4Saves < plan.cost) take_if_cheaper(plan, MethodId::lz4, lz4);
  if (plan.method == 0) plan.cost = 1;
  return plan;
}

// The sampled elements side by side at the start of `into`; how many.
std::size_t take_sample(std::span<const std::byte> elements, std::size_t width, std::span<std::byte> into) noexcept {
  const std::size_t count = elements.size() / width;
  if (count <= kMostSampled) {
    std::memcpy(into.data(), elements.data(), elements.size());
    return count;
  }
  const std::size_t stride = (count - kSampleBlockElements) / (kSampleBlocks - 1);
  const std::size_t block_bytes = kSampleBlockElements * width;
  for (std::size_t block = 0; block < kSampleBlocks; ++block) {
    std::memcpy(into.data() + block * block_bytes, elements.data() + block * stride * width, block_bytes);
  }
  return kMostSampled;
}

// Whether the highest bit of each byte is the same.
bool has_constant_top_bit(std::span<const std::byte> bytes) noexcept {
  std::byte all{0xFF};
  std::byte any{0};
  for (const std::byte byte : bytes) {
    all &= byte;
    any |= byte;
  }
  return ((all ^ any) & std::byte{0x80}) == std::byte{0};
}

struct RunPlan {
  RunDecision decision;
  float cost = 0;  // bytes stored for an element
};

RunPlan plan_planes(std::span<const std::byte> planes, std::size_t width, bool rotated, Level level) noexcept {
  RunPlan run;
  run.decision.element_bytes = static_cast<std::uint8_t>(width);
  run.decision.rotated = rotated;
  const std::size_t count = planes.size() / width;
  for (std::size_t plane = 0; plane < width; ++plane) {
    const PlanePlan plan = plan_plane(planes.subspan(plane * count, count), level);
    run.decision.methods[plane] = plan.method;
    run.cost += plan.cost;
  }
  return run;
}

}  // namespace

RunDecision plan_run(std::span<const std::byte> elements, std::size_t width, Level level, Context& context) {
  const std::size_t count = take_sample(elements, width, context.second());
  const std::span<std::byte> planes = context.planes().first(count * width);
  std::array<std::byte*, kMostPlanes> targets{};
  for (std::size_t plane = 0; plane < width; ++plane) targets[plane] = planes.data() + plane * count;
  const SplitPlanes split = best_kernels().split[width_index(width)];
  split(context.second().data(), count, false, targets.data());
  const RunPlan plain = plan_planes(planes, width, false, level);
  // A sign that never changes would only spoil the lowest plane.
  if (!can_rotate(width) || has_constant_top_bit(planes.last(count))) return plain.decision;
  split(context.second().data(), count, true, targets.data());
  const RunPlan rotated = plan_planes(planes, width, true, level);
  return rotated.cost < plain.cost ? rotated.decision : plain.decision;
}

}  // namespace stillframe::codec
