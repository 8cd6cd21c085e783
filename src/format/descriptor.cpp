#include "format/descriptor.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/bytes.hpp"

namespace stillframe::format {
namespace {

using Json = nlohmann::json;

constexpr std::array<char, 8> kMagic{'S', 'F', 'D', 'E', 'S', 'C', '\0', '\0'};
constexpr std::size_t kHeaderBytes = kMagic.size() + 3 * sizeof(std::uint64_t);

Status corrupt(const std::string& what) { return {Code::corrupt, "snapshot descriptor: " + what}; }

// An entry is ["name", "F32", [shape …]], with a fourth member `true` when it is trainable; offsets follow from the order.
bool is_trainable(const Json& json) { return json.size() == 4; }

Result<Entry> read_entry(const Json& json) {
  const auto is_size = [](const Json& value) { return value.is_number_unsigned(); };
  const bool three_or_four = json.is_array() && (json.size() == 3 || (json.size() == 4 && json[3] == true));
  if (!three_or_four || !json[0].is_string() || !json[1].is_string() || !json[2].is_array()) {
    return corrupt("an entry is not [name, dtype, shape] or [name, dtype, shape, true]");
  }
  Entry entry;
  entry.name = json[0].get<std::string>();
  const auto dtype = dtype_from_name(json[1].get_ref<const std::string&>());
  if (!dtype) return corrupt("entry '" + entry.name + "' has an unknown dtype");
  entry.dtype = *dtype;
  for (const Json& size : json[2]) {
    if (!is_size(size)) return corrupt("entry '" + entry.name + "' has a shape that is not made of whole numbers");
    entry.shape.push_back(size.get<std::uint64_t>());
  }
  return entry;
}

struct ReadLayout {
  ImageLayout layout;
  std::vector<bool> trainable;
};

Result<ReadLayout> read_layout(std::string_view text) {
  // The parser takes a zero byte for the end of the text, whatever follows it.
  if (text.find('\0') != std::string_view::npos) return corrupt("the layout holds a zero byte");
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_array() || json.size() > kMaxEntries) return corrupt("the layout is not a list of entries");
  ReadLayout read;
  std::vector<Entry> entries;
  entries.reserve(json.size());
  for (const Json& one : json) {
    SF_ASSIGN(Entry entry, read_entry(one));
    entries.push_back(std::move(entry));
    read.trainable.push_back(is_trainable(one));
  }
  if (!std::is_sorted(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
        return dtype_bytes(a.dtype) > dtype_bytes(b.dtype);
      })) {
    return corrupt("its entries do not stand in the order of the image");
  }
  // They do, and the order is stable: laying out again gives the same offsets.
  SF_ASSIGN(read.layout, lay_out(std::move(entries)));
  return read;
}

}  // namespace

std::string encode_layout(const ImageLayout& layout, const std::vector<bool>& trainable) {
  Json json = Json::array();
  for (std::size_t i = 0; i < layout.entries.size(); ++i) {
    const Entry& entry = layout.entries[i];
    json.push_back(Json::array({entry.name, std::string(dtype_name(entry.dtype)), entry.shape}));
    if (i < trainable.size() && trainable[i]) json.back().push_back(true);
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::uint64_t descriptor_bytes(std::string_view layout, std::string_view tree, std::string_view metrics) noexcept {
  return kHeaderBytes + layout.size() + tree.size() + metrics.size();
}

std::vector<std::byte> encode_descriptor(std::string_view layout, std::string_view tree, std::string_view metrics) {
  std::vector<std::byte> bytes(descriptor_bytes(layout, tree, metrics));
  std::memcpy(bytes.data(), kMagic.data(), kMagic.size());
  std::size_t at = kMagic.size();
  for (const std::string_view text : {layout, tree, metrics}) {
    base::store_le<std::uint64_t>(bytes, at, text.size());
    at += sizeof(std::uint64_t);
  }
  for (const std::string_view text : {layout, tree, metrics}) {
    // Not memcpy: an empty text may have no address.
    std::ranges::copy(base::as_bytes(text), bytes.begin() + static_cast<std::ptrdiff_t>(at));
    at += text.size();
  }
  return bytes;
}

Result<Descriptor> decode_descriptor(std::span<const std::byte> bytes, std::uint64_t image_bytes) {
  if (bytes.size() < kHeaderBytes || std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0) {
    return corrupt("it does not begin as one");
  }
  std::array<std::string_view, 3> texts;
  std::span<const std::byte> rest = bytes.subspan(kHeaderBytes);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto length = base::load_le<std::uint64_t>(bytes, kMagic.size() + i * sizeof(std::uint64_t));
    if (length > rest.size()) return corrupt("a part is longer than the whole");
    texts[i] = base::as_text(rest.first(length));
    rest = rest.subspan(length);
  }
  if (!rest.empty()) return corrupt("it has bytes after its end");
  Descriptor descriptor;
  SF_ASSIGN(ReadLayout read, read_layout(texts[0]));
  descriptor.layout = std::move(read.layout);
  if (descriptor.layout.bytes != image_bytes) return corrupt("its layout is of another image");
  descriptor.tree_json = texts[1];
  descriptor.metrics_json = texts[2];
  SF_ASSIGN(descriptor.metric_entries, metric_entries(descriptor.metrics_json, descriptor.layout));
  SF_ASSIGN(descriptor.facts, read_tree_facts(descriptor.tree_json, descriptor.layout));
  for (std::size_t i = 0; i < read.trainable.size(); ++i) {
    if (read.trainable[i]) descriptor.facts.trainable[i] = true;
  }
  return descriptor;
}

}  // namespace stillframe::format
