#include "format/tree_check.hpp"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>

#include "base/bytes.hpp"

namespace stillframe::format {
namespace {

constexpr std::size_t kMaxInlineBytes = 4096;
constexpr std::size_t kMaxPathPart = 200;

// A member of exactly this JSON type; nullptr when it is missing or of another.
template <typename T>
const T* member(const JsonObject& object, std::string_view key) noexcept {
  for (const JsonMember& candidate : object) {
    if (candidate.key == key) return candidate.value.get_if<T>();
  }
  return nullptr;
}

bool has_member(const JsonObject& object, std::string_view key) noexcept {
  return std::any_of(object.begin(), object.end(), [&](const JsonMember& m) { return m.key == key; });
}

bool only_members(const JsonObject& object, std::initializer_list<std::string_view> allowed) noexcept {
  return std::all_of(object.begin(), object.end(), [&](const JsonMember& m) {
    return std::find(allowed.begin(), allowed.end(), m.key) != allowed.end();
  });
}

std::optional<std::vector<std::uint64_t>> unsigned_list(const JsonArray* array) {
  if (array == nullptr || array->size() > kMaxTensorRank) return std::nullopt;
  std::vector<std::uint64_t> values;
  for (const JsonValue& item : *array) {
    const auto* integer = item.get_if<JsonInteger>();
    if (integer == nullptr || integer->negative) return std::nullopt;
    values.push_back(integer->magnitude);
  }
  return values;
}

// Bytes from the entry's start to the end of the view's last element; nullopt on overflow.
std::optional<std::uint64_t> view_end(const std::vector<std::uint64_t>& shape, const std::vector<std::uint64_t>& stride,
                                      std::uint64_t offset, std::uint32_t width) {
  std::uint64_t end = offset;
  if (std::find(shape.begin(), shape.end(), 0U) == shape.end()) {
    for (std::size_t i = 0; i < shape.size(); ++i) {
      const auto reach = base::checked_mul(shape[i] - 1, stride[i]);
      const auto sum = reach ? base::checked_add(end, *reach) : std::nullopt;
      if (!sum) return std::nullopt;
      end = *sum;
    }
    if (++end == 0) return std::nullopt;
  }
  return base::checked_mul(end, width);
}

class Checker {
 public:
  explicit Checker(const ImageLayout& layout) {
    entries_.reserve(layout.entries.size());
    for (const Entry& entry : layout.entries) entries_.emplace(entry.name, &entry);
  }

  // `hashable`: the node is a dict key or an element of a set.
  Status check(const JsonValue& node, int depth, bool hashable) {
    if (depth > kMaxTreeDepth) return wrong("nested deeper than " + std::to_string(kMaxTreeDepth) + " levels");
    if (const auto* object = node.get_if<JsonObject>()) return check_object(*object, depth, hashable);
    if (const auto* array = node.get_if<JsonArray>()) {
      return hashable ? wrong("a list as a dict key or set element") : check_items(*array, depth, false);
    }
    if (node.get_if<JsonInteger>() != nullptr && !is_plain_int(node)) {
      return wrong("an integer of 2^53 or more must be written as {\"$int\": \"…\"}");
    }
    if (node.get_if<JsonFloat>() != nullptr && !is_plain_float(node)) {
      return wrong("an integer of 2^53 or more must be written as {\"$int\": \"…\"}");
    }
    return {};
  }

 private:
  Status wrong(const std::string& what) const { return {Code::corrupt, "state tree, at " + path_ + ": " + what}; }

  template <typename Body>
  Status within(std::string_view part, Body body) {
    const std::size_t length = path_.size();
    path_ += part.substr(0, kMaxPathPart);
    const Status status = body();
    path_.resize(length);
    return status;
  }

  Status check_items(const JsonArray& items, int depth, bool hashable) {
    for (std::size_t i = 0; i < items.size(); ++i) {
      SF_TRY(within("[" + std::to_string(i) + "]", [&] { return check(items[i], depth + 1, hashable); }));
    }
    return {};
  }

  Status check_object(const JsonObject& object, int depth, bool hashable) {
    if (object.size() == 1 && object.front().key.starts_with('$')) {
      return check_typed(object.front().key, object.front().value, depth, hashable);
    }
    if (hashable) return wrong("a dict as a dict key or set element");
    for (const JsonMember& item : object) {
      if (item.key.starts_with('$'))
        return wrong("a key that begins with '$' among others; such a dict is a \"$dict\"");
      SF_TRY(within("." + item.key, [&] { return check(item.value, depth + 1, false); }));
    }
    return {};
  }

  Status check_typed(const std::string& kind, const JsonValue& value, int depth, bool hashable) {
    if (const auto* text = value.get_if<std::string>(); text != nullptr && kind != "$tensor") {
      return check_text(kind, *text, hashable);
    }
    const auto* array = value.get_if<JsonArray>();
    const auto* object = value.get_if<JsonObject>();
    if (kind == "$tuple" && array != nullptr) return check_items(*array, depth, hashable);
    if (kind == "$size" && array != nullptr) {
      return std::all_of(array->begin(), array->end(), is_plain_int) ? Status() : wrong("$size holds integers");
    }
    if (kind == "$complex" && array != nullptr) return check_complex(*array);
    if (kind == "$frozenset" && array != nullptr) return check_set(*array, depth);
    if (kind == "$namedtuple" && object != nullptr) return check_namedtuple(*object, depth, hashable);
    if (kind == "$enum" && object != nullptr) return check_enum(*object, depth);
    if (kind == "$scalar" && object != nullptr) return check_scalar(*object);
    if (kind == "$bytes" && object != nullptr) return check_bytes_entry(*object);
    if (hashable) return wrong("\"" + kind.substr(0, kMaxPathPart) + "\" as a dict key or set element");
    if (kind == "$bytearray" && object != nullptr) return check_bytes_entry(*object);
    if ((kind == "$dict" || kind == "$ordered_dict") && array != nullptr) return check_pairs(*array, depth);
    if (kind == "$set" && array != nullptr) return check_set(*array, depth);
    if (kind == "$ndarray" && object != nullptr) return check_ndarray(*object);
    if (kind == "$tensor") return check_tensor(value);
    return wrong("\"" + kind.substr(0, kMaxPathPart) + "\" is no node of version 1, or its value has the wrong type");
  }

  Status check_text(const std::string& kind, const std::string& text, bool hashable) const {
    if (kind == "$int") return is_big_int(text) ? Status() : wrong("$int must be a decimal integer of 2^53 or more");
    if (kind == "$float") {
      return is_special_float(text) ? Status()
                                    : wrong("$float must be nan, inf, -inf or bits: and a NaN's 16 hex digits");
    }
    if (kind == "$bytes" || (kind == "$bytearray" && !hashable)) {
      const auto bytes = base64_bytes(text);
      if (!bytes) return wrong(kind + " is not well-formed base64");
      return *bytes <= kMaxInlineBytes ? Status() : wrong(kind + " of more than 4096 bytes must stand in an entry");
    }
    constexpr std::string_view kTorch = "torch.";
    if (kind == "$dtype" && text.size() > kTorch.size() && text.starts_with(kTorch)) return {};
    if (kind == "$device" && !text.empty()) return {};
    return wrong("\"" + kind.substr(0, kMaxPathPart) + "\" is no node of version 1, or its value has the wrong type");
  }

  Status check_complex(const JsonArray& parts) const {
    const auto is_float_node = [](const JsonValue& part) {
      if (is_plain_float(part)) return true;
      const auto* object = part.get_if<JsonObject>();
      const auto* text = object != nullptr && object->size() == 1 ? member<std::string>(*object, "$float") : nullptr;
      return text != nullptr && is_special_float(*text);
    };
    return parts.size() == 2 && is_float_node(parts[0]) && is_float_node(parts[1]) ? Status()
                                                                                   : wrong("$complex holds two floats");
  }

  Status check_distinct(std::vector<std::string> texts) const {
    std::sort(texts.begin(), texts.end());
    const auto twice = std::adjacent_find(texts.begin(), texts.end());
    return twice == texts.end() ? Status() : wrong("twice the same key or element: " + twice->substr(0, kMaxPathPart));
  }

  Status check_set(const JsonArray& elements, int depth) {
    SF_TRY(check_items(elements, depth, true));
    std::vector<std::string> texts(elements.size());
    for (std::size_t i = 0; i < elements.size(); ++i) append_json(texts[i], elements[i]);
    return check_distinct(std::move(texts));
  }

  Status check_pairs(const JsonArray& pairs, int depth) {
    std::vector<std::string> keys(pairs.size());
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      const auto* pair = pairs[i].get_if<JsonArray>();
      if (pair == nullptr || pair->size() != 2) return wrong("a dict is written as pairs of key and value");
      SF_TRY(within("[key " + std::to_string(i) + "]", [&] { return check((*pair)[0], depth + 1, true); }));
      append_json(keys[i], (*pair)[0]);
      SF_TRY(within("[" + keys[i] + "]", [&] { return check((*pair)[1], depth + 1, false); }));
    }
    return check_distinct(std::move(keys));
  }

  Status check_namedtuple(const JsonObject& object, int depth, bool hashable) {
    const auto* type = member<std::string>(object, "type");
    const auto* fields = member<JsonArray>(object, "fields");
    const auto* values = member<JsonArray>(object, "values");
    if (object.size() != 3 || type == nullptr || type->empty() || fields == nullptr || values == nullptr ||
        fields->size() != values->size() ||
        !std::all_of(fields->begin(), fields->end(), [](const JsonValue& f) { return f.get_if<std::string>(); })) {
      return wrong("$namedtuple holds a type, fields and as many values");
    }
    return check_items(*values, depth, hashable);
  }

  Status check_enum(const JsonObject& object, int depth) {
    const auto* type = member<std::string>(object, "type");
    const auto* name = member<std::string>(object, "name");
    if (object.size() != 3 || type == nullptr || type->empty() || name == nullptr || !has_member(object, "value")) {
      return wrong("$enum holds a type, a name and a value");
    }
    for (const JsonMember& item : object) {
      if (item.key == "value") return within(".value", [&] { return check(item.value, depth + 1, false); });
    }
    return {};
  }

  Status check_scalar(const JsonObject& object) const {
    const auto* dtype = member<std::string>(object, "dtype");
    const auto* hex = member<std::string>(object, "bytes");
    const auto width = dtype != nullptr ? numpy_item_bytes(*dtype) : std::nullopt;
    const bool right = object.size() == 2 && width && hex != nullptr && is_lower_hex(*hex) && hex->size() == *width * 2;
    return right ? Status() : wrong("$scalar holds a NumPy dtype and its bytes in lower-case hex");
  }

  // The entry that `object` names, else nullptr.
  const Entry* find_entry(const std::string* name) const {
    const auto found = name != nullptr ? entries_.find(*name) : entries_.end();
    return found == entries_.end() ? nullptr : found->second;
  }

  Status check_bytes_entry(const JsonObject& object) const {
    const Entry* entry = find_entry(member<std::string>(object, "entry"));
    if (object.size() != 1 || entry == nullptr) return wrong("the bytes name no entry of this rank");
    return entry->dtype == DType::u8 && entry->shape.size() == 1 ? Status()
                                                                 : wrong("bytes need a one-dimensional U8 entry");
  }

  Status check_ndarray(const JsonObject& object) const {
    const Entry* entry = find_entry(member<std::string>(object, "entry"));
    if (entry == nullptr) return wrong("the array names no entry of this rank");
    const auto* dtype = member<std::string>(object, "dtype");
    const auto* order = member<std::string>(object, "order");
    const auto shape = unsigned_list(member<JsonArray>(object, "shape"));
    const auto width = dtype != nullptr ? numpy_item_bytes(*dtype) : std::nullopt;
    if (object.size() != 4 || !width || !shape || order == nullptr || (*order != "C" && *order != "F")) {
      return wrong("$ndarray holds entry, dtype, shape (unsigned) and order (C or F)");
    }
    std::optional<std::uint64_t> bytes = *width;
    for (const std::uint64_t extent : *shape) bytes = bytes ? base::checked_mul(*bytes, extent) : std::nullopt;
    return bytes == entry->bytes ? Status() : wrong("the array's size is not that of entry " + entry->name);
  }

  Status check_tensor(const JsonValue& value) const {
    if (const auto* name = value.get_if<std::string>()) {
      return find_entry(name) != nullptr ? Status() : wrong("the tensor names no entry of this rank");
    }
    const auto* object = value.get_if<JsonObject>();
    const Entry* entry = object != nullptr ? find_entry(member<std::string>(*object, "entry")) : nullptr;
    if (entry == nullptr) return wrong("the tensor names no entry of this rank");
    if (!only_members(*object,
                      {"entry", "dtype", "shape", "stride", "offset", "parameter", "requires_grad", "device"})) {
      return wrong("$tensor has a member that version 1 does not know");
    }
    for (const std::string_view flag : {"parameter", "requires_grad"}) {
      if (has_member(*object, flag) && member<bool>(*object, flag) == nullptr)
        return wrong("a flag that is no boolean");
    }
    if (const auto* device = member<std::string>(*object, "device");
        has_member(*object, "device") && (device == nullptr || device->empty())) {
      return wrong("the device is no string");
    }
    return check_view(*object, *entry);
  }

  Status check_view(const JsonObject& object, const Entry& entry) const {
    int present = 0;
    for (const std::string_view key : {"dtype", "shape", "stride", "offset"})
      present += has_member(object, key) ? 1 : 0;
    if (present == 0) return {};
    const auto* name = member<std::string>(object, "dtype");
    const auto dtype = name != nullptr ? dtype_from_name(*name) : std::nullopt;
    const auto shape = unsigned_list(member<JsonArray>(object, "shape"));
    const auto stride = unsigned_list(member<JsonArray>(object, "stride"));
    const auto* offset = member<JsonInteger>(object, "offset");
    if (present != 4 || !dtype || !shape || !stride || shape->size() != stride->size() || offset == nullptr ||
        offset->negative) {
      return wrong("a view has a known dtype, shape, stride and offset, all unsigned and of one rank");
    }
    const auto end = view_end(*shape, *stride, offset->magnitude, dtype_bytes(*dtype));
    return end && *end <= entry.bytes ? Status() : wrong("the view reaches beyond entry " + entry.name);
  }

  std::unordered_map<std::string_view, const Entry*> entries_;
  std::string path_ = "state";
};

}  // namespace

Status check_tree_value(const JsonValue& root, const ImageLayout& layout) {
  return Checker(layout).check(root, 0, false);
}

}  // namespace stillframe::format
