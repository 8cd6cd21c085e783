// The state tree against a fixed layout with an entry of each kind that a tree can refer to, and what it says of
// training.
#include "format/tree.hpp"
#include "format/tree_facts.hpp"
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

void check_facts(const format::TreeFacts& facts) {
  require(facts.trainable.size() == layout().entries.size(), "not one fact per entry");
  require(facts.step_counters.size() <= format::kMaxStepCounters, "more step counters than the limit");
  for (const format::StepCounter& counter : facts.step_counters) {
    require(!counter.path.empty(), "a step counter without a path");
    const bool inside = counter.image_offset + dtype_bytes(counter.dtype) <= layout().bytes;
    require(counter.value || inside, "a step counter outside of the image");
  }
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
  const auto facts = format::read_tree_facts(text, layout);
  fuzz::require_words(facts);
  fuzz::require(facts.ok() == checked.ok(),
                "the facts are read of a tree that is refused, or not of one that is taken");
  if (facts.ok()) fuzz::check_facts(*facts);
  fuzz::require(!checked.ok() || text.find('\0') == std::string_view::npos, "a tree with a zero byte was taken");
  return 0;
}
