#include "format/tree_facts.hpp"

#include <algorithm>
#include <charconv>
#include <unordered_map>
#include <utility>

#include "base/bytes.hpp"
#include "format/json.hpp"
#include "format/tree_check.hpp"

namespace stillframe::format {
namespace {

constexpr std::size_t kMaxPathBytes = 200;

template <typename T>
const T* member(const JsonObject& object, std::string_view key) noexcept {
  for (const JsonMember& candidate : object) {
    if (candidate.key == key) return candidate.value.get_if<T>();
  }
  return nullptr;
}

bool is_true(const JsonObject& object, std::string_view key) noexcept {
  const bool* flag = member<bool>(object, key);
  return flag != nullptr && *flag;
}

// The one member of a typed node such as {"$dict": …}; nullptr for anything else.
const JsonMember* typed(const JsonValue& node) noexcept {
  const auto* object = node.get_if<JsonObject>();
  return object != nullptr && object->size() == 1 && object->front().key.starts_with('$') ? &object->front() : nullptr;
}

std::string part_of(const JsonValue& key) {
  if (const auto* text = key.get_if<std::string>()) return "." + std::string(base::utf8_prefix(*text, kMaxPathBytes));
  if (const auto* integer = key.get_if<JsonInteger>()) {
    return std::string(integer->negative ? "[-" : "[") + std::to_string(integer->magnitude) + "]";
  }
  return "[…]";
}

// Calls visit(path part, value) for each item of a dict of any kind. False when the node is no dict.
template <typename Visit>
bool each_of_dict(const JsonValue& node, const Visit& visit) {
  if (const JsonMember* one = typed(node)) {
    const auto* pairs = one->key == "$dict" || one->key == "$ordered_dict" ? one->value.get_if<JsonArray>() : nullptr;
    if (pairs == nullptr) return false;
    for (const JsonValue& pair : *pairs) {
      const auto& both = *pair.get_if<JsonArray>();
      visit(part_of(both[0]), both[1]);
    }
    return true;
  }
  const auto* object = node.get_if<JsonObject>();
  if (object == nullptr) return false;
  for (const JsonMember& item : *object) visit("." + std::string(base::utf8_prefix(item.key, kMaxPathBytes)), item.value);
  return true;
}

const JsonValue* find_in_dict(const JsonValue& node, std::string_view part) {
  const JsonValue* found = nullptr;
  each_of_dict(node, [&](const std::string& at, const JsonValue& value) {
    if (at == part) found = &value;
  });
  return found;
}

// Of list, tuple and namedtuple; nullptr for anything else.
const JsonArray* items_of(const JsonValue& node) noexcept {
  const JsonMember* one = typed(node);
  if (one == nullptr) return node.get_if<JsonArray>();
  if (one->key == "$tuple") return one->value.get_if<JsonArray>();
  if (one->key != "$namedtuple") return nullptr;
  return member<JsonArray>(*one->value.get_if<JsonObject>(), "values");
}

bool is_counter_dtype(DType dtype) noexcept {
  return dtype == DType::f32 || dtype == DType::f64 || dtype == DType::i32 || dtype == DType::u32 ||
         dtype == DType::i64 || dtype == DType::u64;
}

// The tree has been checked: members have their types and references their entries.
class Gatherer {
 public:
  Gatherer(const ImageLayout& layout, TreeFacts& facts) : layout_(layout), facts_(facts) {
    facts_.trainable.resize(layout.entries.size());
    index_.reserve(layout.entries.size());
    for (std::size_t i = 0; i < layout.entries.size(); ++i) index_.emplace(layout.entries[i].name, i);
  }

  void walk(const JsonValue& node) {
    if (const JsonMember* one = typed(node); one != nullptr && one->key == "$tensor") return note_trainable(one->value);
    const JsonValue* state = nullptr;
    const JsonValue* groups = nullptr;
    const bool is_dict = each_of_dict(node, [&](const std::string& part, const JsonValue& value) {
      if (part == ".state") state = &value;
      if (part == ".param_groups") groups = &value;
      within(part, [&] { walk(value); });
    });
    if (state != nullptr && groups != nullptr && items_of(*groups) != nullptr) gather_counters(*state);
    if (is_dict) return;
    const JsonArray* items = items_of(node);
    for (std::size_t i = 0; items != nullptr && i < items->size(); ++i) {
      within("[" + std::to_string(i) + "]", [&] { walk((*items)[i]); });
    }
  }

 private:
  template <typename Body>
  void within(const std::string& part, const Body& body) {
    const std::size_t length = path_.size();
    path_ += path_.empty() && part.starts_with('.') ? part.substr(1) : part;
    body();
    path_.resize(length);
  }

  void note_trainable(const JsonValue& tensor) {
    const auto* object = tensor.get_if<JsonObject>();
    if (object == nullptr || !is_true(*object, "parameter") || !is_true(*object, "requires_grad")) return;
    facts_.trainable[index_.at(*member<std::string>(*object, "entry"))] = true;
  }

  void gather_counters(const JsonValue& state) {
    const std::size_t optimizer = optimizers_++;
    within(".state", [&] {
      each_of_dict(state, [&](const std::string& part, const JsonValue& of_parameter) {
        const JsonValue* step = find_in_dict(of_parameter, ".step");
        if (step == nullptr || facts_.step_counters.size() >= kMaxStepCounters) return;
        StepCounter counter;
        counter.optimizer = optimizer;
        if (!read_counter(*step, counter)) return;
        counter.path = path_ + part + ".step";
        if (counter.path.size() > kMaxPathBytes) counter.path = std::string(base::utf8_prefix(counter.path, kMaxPathBytes)) + "…";
        facts_.step_counters.push_back(std::move(counter));
      });
    });
  }

  bool read_counter(const JsonValue& node, StepCounter& counter) const {
    if (const auto* integer = node.get_if<JsonInteger>()) {
      const auto magnitude = static_cast<double>(integer->magnitude);
      counter.value = integer->negative ? -magnitude : magnitude;
      return true;
    }
    if (const auto* number = node.get_if<JsonFloat>()) {
      double value = 0;
      const char* const end = number->text.data() + number->text.size();
      if (std::from_chars(number->text.data(), end, value).ec != std::errc{}) return false;
      counter.value = value;
      return true;
    }
    const JsonMember* one = typed(node);
    if (one == nullptr) return false;
    if (one->key == "$tensor") return read_tensor(one->value, counter);
    if (one->key != "$ndarray") return false;
    return whole_entry(*member<std::string>(*one->value.get_if<JsonObject>(), "entry"), counter);
  }

  bool read_tensor(const JsonValue& tensor, StepCounter& counter) const {
    if (const auto* name = tensor.get_if<std::string>()) return whole_entry(*name, counter);
    const auto& object = *tensor.get_if<JsonObject>();
    const std::string& entry = *member<std::string>(object, "entry");
    const auto* shape = member<JsonArray>(object, "shape");
    if (shape == nullptr) return whole_entry(entry, counter);
    const bool one_element = std::all_of(shape->begin(), shape->end(), [](const JsonValue& extent) {
      return extent.get_if<JsonInteger>()->magnitude == 1;
    });
    counter.dtype = *dtype_from_name(*member<std::string>(object, "dtype"));
    counter.image_offset = layout_.entries[index_.at(entry)].offset +
                           member<JsonInteger>(object, "offset")->magnitude * dtype_bytes(counter.dtype);
    return one_element && is_counter_dtype(counter.dtype);
  }

  bool whole_entry(const std::string& name, StepCounter& counter) const {
    const Entry& entry = layout_.entries[index_.at(name)];
    counter.dtype = entry.dtype;
    counter.image_offset = entry.offset;
    return entry.bytes == dtype_bytes(entry.dtype) && is_counter_dtype(entry.dtype);
  }

  const ImageLayout& layout_;
  TreeFacts& facts_;
  std::unordered_map<std::string_view, std::size_t> index_;
  std::size_t optimizers_ = 0;
  std::string path_;
};

}  // namespace

Result<TreeFacts> read_tree_facts(std::string_view tree_json, const ImageLayout& layout) {
  auto root = parse_json(tree_json, kMaxTreeJsonDepth);
  if (!root.ok()) return root.status().with_context("state tree");
  SF_TRY(check_tree_value(*root, layout));
  TreeFacts facts;
  Gatherer(layout, facts).walk(*root);
  return facts;
}

}  // namespace stillframe::format
