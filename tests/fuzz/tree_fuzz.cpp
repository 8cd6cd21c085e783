// The state tree against a fixed layout with an entry of each kind that a tree can refer to.
#include "format/tree.hpp"
#include "harness.hpp"

namespace stillframe::fuzz {
namespace {

const format::ImageLayout& layout() {
  static const format::ImageLayout made = format::lay_out({{"f", DType::f32, {4, 6}},
                                                           {"d", DType::f64, {3}},
                                                           {"h", DType::bf16, {8}},
                                                           {"c", DType::c128, {2}},
                                                           {"u", DType::u8, {5000}},
                                                           {"b", DType::boolean, {}},
                                                           {"e", DType::i64, {0}}})
                                              .value();
  return made;
}

}  // namespace
}  // namespace stillframe::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stillframe;
  const format::ImageLayout& layout = fuzz::layout();
  const std::string_view text = fuzz::text_of(data, size);
  const fuzz::MemoryBound bound(size, 256, 256 * 1024);
  const Status checked = format::check_tree(text, layout);
  fuzz::require_words(checked);
  fuzz::require(!checked.ok() || text.find('\0') == std::string_view::npos, "a tree with a zero byte was taken");
  return 0;
}
