// What a snapshot says of itself inside the arena: layout, tree and metrics, so that the memory alone is enough to commit it.
// Never written to a store. Pure.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/image.hpp"
#include "format/metric_entries.hpp"
#include "format/tree_facts.hpp"
#include "stillframe/status.hpp"

namespace stillframe::format {

struct Descriptor {
  ImageLayout layout;
  std::string tree_json;
  std::string metrics_json;
  std::vector<MetricEntry> metric_entries;  // of the metrics, whose numbers the image holds
  TreeFacts facts;  // of the tree; trainable also what the plan says is
};

// The layout part, made once per plan; the rest changes with every snapshot. `trainable`: per entry whether training changes
// it; empty: nothing is said of that.
[[nodiscard]] std::string encode_layout(const ImageLayout& layout, const std::vector<bool>& trainable = {});
// Bytes: "SFDESC\0\0", three u64 lengths (layout, tree, metrics), the three texts.
[[nodiscard]] std::uint64_t descriptor_bytes(std::string_view layout, std::string_view tree, std::string_view metrics) noexcept;
[[nodiscard]] std::vector<std::byte> encode_descriptor(std::string_view layout, std::string_view tree,
                                                       std::string_view metrics);
// corrupt unless it is whole and describes exactly `image_bytes`; the tree is checked against the layout.
[[nodiscard]] Result<Descriptor> decode_descriptor(std::span<const std::byte> bytes, std::uint64_t image_bytes);

}  // namespace stillframe::format
