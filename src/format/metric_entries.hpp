// Metrics whose number stands in the image of the snapshot: in the metrics of a call {"$entry": "<name of an entry>"},
// in a manifest the number. Nobody has to wait for a GPU to tell it. Pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/image.hpp"
#include "stillframe/status.hpp"

namespace stillframe::format {

// An element of the image. It lies within one chunk.
struct MetricEntry {
  std::uint64_t image_offset = 0;
  DType dtype = DType::f32;
};
// Its bytes as they stand in the image, from the first one on.
using MetricElement = std::array<std::byte, 8>;

// Those that the text names, in its order. corrupt where the named entry is not there, or is not one number: one
// element of a real dtype of at least 16 bits, or of an integer one.
[[nodiscard]] Result<std::vector<MetricEntry>> metric_entries(std::string_view metrics_json, const ImageLayout& layout);

// The text with a number for each of them; NaN and infinities as {"$float": …}. `elements`: one for each, in that
// order.
[[nodiscard]] Result<std::string> with_numbers(std::string metrics_json, std::span<const MetricEntry> entries,
                                               std::span<const MetricElement> elements);

}  // namespace stillframe::format
