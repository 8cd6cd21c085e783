// The snapshot descriptor in the arena. Tried as it is, and with lengths and image size made to fit, so that layout and
// tree are reached.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/bytes.hpp"
#include "format/descriptor.hpp"
#include "harness.hpp"

namespace stillframe::fuzz {
namespace {

constexpr std::size_t kPerInputByte = 256;
constexpr std::size_t kFixedBytes = 256 * 1024;

void decode(std::span<const std::byte> bytes, std::uint64_t image_bytes) {
  const MemoryBound bound(bytes.size(), kPerInputByte, kFixedBytes);
  const auto descriptor = format::decode_descriptor(bytes, image_bytes);
  require_words(descriptor);
  if (!descriptor.ok()) return;
  require(descriptor->layout.bytes == image_bytes, "a descriptor of another image was taken");
  const std::string layout = format::encode_layout(descriptor->layout, descriptor->facts.trainable);
  const auto written = format::encode_descriptor(layout, descriptor->tree_json, descriptor->metrics_json);
  const auto again = format::decode_descriptor(written, image_bytes);
  require(again.ok(), "a descriptor that was taken is refused once written");
  require(again->layout.entries == descriptor->layout.entries && again->tree_json == descriptor->tree_json &&
              again->facts.trainable == descriptor->facts.trainable,
          "a descriptor changes when it is written");
}

// What the layout in the text says of itself; 0 when it says nothing.
std::uint64_t bytes_claimed(std::string_view layout) {
  const auto json = nlohmann::json::parse(layout, nullptr, /*allow_exceptions=*/false);
  if (!json.is_array()) return 0;
  std::uint64_t total = 0;
  for (const auto& entry : json) {
    if (!entry.is_array() || entry.size() != 3 || !entry[1].is_string() || !entry[2].is_array()) return 0;
    const auto dtype = dtype_from_name(entry[1].get_ref<const std::string&>());
    std::uint64_t bytes = dtype ? dtype_bytes(*dtype) : 0;
    for (const auto& extent : entry[2]) bytes *= extent.is_number_unsigned() ? extent.get<std::uint64_t>() : 0;
    total += bytes;
  }
  return total;
}

// The three texts stand in the input one after the other, each ended by a line feed.
void decode_repaired(std::string_view text) {
  std::array<std::string_view, 3> parts;
  for (std::string_view& part : parts) {
    part = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(part.size() + 1, text.size()));
  }
  decode(format::encode_descriptor(parts[0], parts[1], parts[2]), bytes_claimed(parts[0]));
}

}  // namespace
}  // namespace stillframe::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stillframe;
  fuzz::decode(fuzz::bytes_of(data, size), 4096);
  fuzz::decode_repaired(fuzz::text_of(data, size));
  return 0;
}
