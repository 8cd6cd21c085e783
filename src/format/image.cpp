#include "format/image.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>

#include "base/bytes.hpp"
#include "format/json.hpp"

namespace stillframe::format {
namespace {

std::string quoted(std::string_view name) {
  constexpr std::size_t kShown = 200;
  std::string text = "entry ";
  append_json_string(text, name.substr(0, kShown));
  return text;
}

Status check_entry(const Entry& entry, Code code) {
  if (entry.name.size() > kMaxEntryNameBytes) {
    return {code, quoted(entry.name) + "… has a name of " + std::to_string(entry.name.size()) + " bytes; at most " +
                      std::to_string(kMaxEntryNameBytes) + " are allowed"};
  }
  if (!is_utf8(entry.name)) return {code, "an entry name is not valid UTF-8"};
  if (dtype_from_name(dtype_name(entry.dtype)) != entry.dtype)
    return {code, quoted(entry.name) + " has no known dtype"};
  if (entry.shape.size() > kMaxTensorRank) {
    return {code, quoted(entry.name) + " has " + std::to_string(entry.shape.size()) + " dimensions; at most " +
                      std::to_string(kMaxTensorRank) + " are allowed"};
  }
  const auto bytes = entry_bytes(entry);
  if (!bytes || *bytes > kMaxImageBytes) {
    return {code, quoted(entry.name) + " has a shape larger than the limit of " + base::human_bytes(kMaxImageBytes)};
  }
  return {};
}

Status check_entries(const std::vector<Entry>& entries, Code code) {
  if (entries.size() > kMaxEntries) {
    return {code, std::to_string(entries.size()) + " entries; at most " + std::to_string(kMaxEntries) + " are allowed"};
  }
  std::unordered_set<std::string_view> names;
  names.reserve(entries.size());
  for (const Entry& entry : entries) {
    SF_TRY(check_entry(entry, code));
    if (!names.insert(entry.name).second) return {code, quoted(entry.name) + " is there twice"};
  }
  return {};
}

std::uint32_t width(const Entry& entry) noexcept { return dtype_bytes(entry.dtype); }

Status too_large(Code code, std::uint64_t bytes) {
  return {code, "the entries add up to " + base::human_bytes(bytes) + "; the limit of one rank's image is " +
                    base::human_bytes(kMaxImageBytes)};
}

}  // namespace

std::optional<std::uint64_t> entry_bytes(const Entry& entry) noexcept {
  std::uint64_t elements = 1;
  bool empty = false;
  for (const std::uint64_t extent : entry.shape) {
    if (extent == 0) {
      empty = true;
      continue;
    }
    const auto product = base::checked_mul(elements, extent);
    if (!product) return std::nullopt;
    elements = *product;
  }
  const auto bytes = base::checked_mul(elements, dtype_bytes(entry.dtype));
  if (!bytes) return std::nullopt;
  return empty ? 0 : *bytes;
}

std::uint32_t ImageLayout::chunk_length(std::uint64_t chunk) const noexcept {
  if (chunk >= chunk_count()) return 0;
  return static_cast<std::uint32_t>(std::min(kChunkBytes, bytes - chunk * kChunkBytes));
}

Result<ImageLayout> lay_out(std::vector<Entry> entries) {
  SF_TRY(check_entries(entries, Code::invalid_argument));
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return width(a) > width(b); });
  ImageLayout layout;
  for (Entry& entry : entries) {
    entry.offset = layout.bytes;
    entry.bytes = entry_bytes(entry).value_or(0);
    layout.bytes += entry.bytes;
    if (layout.bytes > kMaxImageBytes) return too_large(Code::invalid_argument, layout.bytes);
  }
  layout.entries = std::move(entries);
  return layout;
}

Result<ImageLayout> check_layout(std::vector<Entry> entries, std::uint64_t image_bytes) {
  SF_TRY(check_entries(entries, Code::corrupt));
  ImageLayout layout;
  const Entry* previous = nullptr;
  for (const Entry& entry : entries) {
    if (previous != nullptr && width(*previous) < width(entry)) {
      return Status(Code::corrupt, quoted(entry.name) + " stands after one of narrower elements");
    }
    if (entry.offset != layout.bytes) {
      return Status(Code::corrupt, quoted(entry.name) + " says offset " + std::to_string(entry.offset) + ", expected " +
                                       std::to_string(layout.bytes));
    }
    if (const auto bytes = entry_bytes(entry); entry.bytes != bytes) {
      return Status(Code::corrupt, quoted(entry.name) + " says " + std::to_string(entry.bytes) +
                                       " bytes; its shape and dtype need " + std::to_string(bytes.value_or(0)));
    }
    layout.bytes += entry.bytes;
    if (layout.bytes > kMaxImageBytes) return too_large(Code::corrupt, layout.bytes);
    previous = &entry;
  }
  if (layout.bytes != image_bytes) {
    return Status(Code::corrupt, "the entries add up to " + std::to_string(layout.bytes) + " bytes; the image says " +
                                     std::to_string(image_bytes));
  }
  layout.entries = std::move(entries);
  return layout;
}

EntryRange entries_of_chunk(const ImageLayout& layout, std::uint64_t chunk) noexcept {
  const std::uint32_t length = layout.chunk_length(chunk);
  if (length == 0) return {};
  const std::uint64_t begin = chunk * kChunkBytes;
  const std::uint64_t end = begin + length;
  const auto first = std::partition_point(layout.entries.begin(), layout.entries.end(),
                                          [&](const Entry& entry) { return entry.offset + entry.bytes <= begin; });
  const auto last =
      std::partition_point(first, layout.entries.end(), [&](const Entry& entry) { return entry.offset < end; });
  return {static_cast<std::size_t>(first - layout.entries.begin()),
          static_cast<std::size_t>(last - layout.entries.begin())};
}

std::vector<ElementRun> element_runs(const ImageLayout& layout, std::uint64_t chunk) {
  std::vector<ElementRun> runs;
  const std::uint64_t begin = chunk * kChunkBytes;
  const std::uint64_t end = begin + layout.chunk_length(chunk);
  const EntryRange range = entries_of_chunk(layout, chunk);
  for (std::size_t i = range.first; i < range.last; ++i) {
    const Entry& entry = layout.entries[i];
    const std::uint64_t from = std::max(begin, entry.offset);
    const std::uint64_t to = std::min(end, entry.offset + entry.bytes);
    if (from >= to) continue;
    const auto bytes = static_cast<std::uint32_t>(to - from);
    const auto element_bytes = static_cast<std::uint8_t>(width(entry));
    if (!runs.empty() && runs.back().element_bytes == element_bytes) {
      runs.back().bytes += bytes;
    } else {
      runs.push_back({bytes, element_bytes});
    }
  }
  return runs;
}

}  // namespace stillframe::format
