#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "format/json.hpp"

namespace stillframe::format {
namespace {

// Builds a JsonValue from the events of the (iterative) parser. A container is not touched while a child of it is open,
// so the pointers on the stack stay valid.
class Builder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  Builder(std::size_t max_depth, std::string_view stop_key) : max_depth_(max_depth), stop_key_(stop_key) {}

  bool null() override { return add({}); }
  bool boolean(bool value) override { return add({value}); }
  bool number_integer(number_integer_t value) override {
    const auto bits = static_cast<std::uint64_t>(value);
    return add({JsonInteger{value < 0, value < 0 ? 0 - bits : bits}});
  }
  bool number_unsigned(number_unsigned_t value) override { return add({JsonInteger{false, value}}); }
  // The library gives the text with the decimal point of the process's locale.
  bool number_float(number_float_t /*value*/, const string_t& text) override {
    std::string plain = text;
    const std::size_t point = plain.find_first_not_of("+-0123456789eE");
    if (point != std::string::npos) plain[point] = '.';
    return add({JsonFloat{std::move(plain)}});
  }
  bool string(string_t& value) override { return add({std::move(value)}); }
  bool binary(binary_t& /*value*/) override { return refuse("a binary value"); }

  bool start_object(std::size_t /*size*/) override { return open({JsonObject{}}); }
  bool key(string_t& key) override {
    if (open_.size() == 1 && !stop_key_.empty() && key == stop_key_) {
      stopped_ = true;
      return false;
    }
    pending_key_ = std::move(key);
    return true;
  }
  bool end_object() override {
    if (has_duplicate_key(std::get<JsonObject>(open_.back()->data))) return false;
    open_.pop_back();
    return true;
  }
  bool start_array(std::size_t /*size*/) override { return open({JsonArray{}}); }
  bool end_array() override {
    open_.pop_back();
    return true;
  }
  bool parse_error(std::size_t position, const std::string& /*last_token*/,
                   const nlohmann::json::exception& /*error*/) override {
    return refuse("no valid JSON in UTF-8 from byte " + std::to_string(position) + " on");
  }

  [[nodiscard]] bool stopped() const noexcept { return stopped_; }
  [[nodiscard]] const std::string& complaint() const noexcept { return complaint_; }
  [[nodiscard]] JsonValue take() && { return std::move(root_); }

 private:
  bool refuse(std::string complaint) {
    complaint_ = std::move(complaint);
    return false;
  }

  JsonValue* place(JsonValue value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    if (auto* array = std::get_if<JsonArray>(&open_.back()->data)) return &array->emplace_back(std::move(value));
    auto& object = std::get<JsonObject>(open_.back()->data);
    return &object.emplace_back(JsonMember{std::move(pending_key_), std::move(value)}).value;
  }

  bool add(JsonValue value) {
    if (++values_ > kMaxJsonValues) return refuse("more than " + std::to_string(kMaxJsonValues) + " values");
    place(std::move(value));
    return true;
  }

  bool open(JsonValue container) {
    if (++values_ > kMaxJsonValues) return refuse("more than " + std::to_string(kMaxJsonValues) + " values");
    if (open_.size() >= max_depth_) return refuse("nested deeper than " + std::to_string(max_depth_) + " levels");
    open_.push_back(place(std::move(container)));
    return true;
  }

  bool has_duplicate_key(const JsonObject& object) {
    std::vector<std::string_view> keys;
    keys.reserve(object.size());
    for (const JsonMember& member : object) keys.emplace_back(member.key);
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    if (twice == keys.end()) return false;
    refuse("the key \"" + std::string(twice->substr(0, 200)) + "\" stands twice in one object");
    return true;
  }

  std::size_t max_depth_;
  std::string_view stop_key_;
  bool stopped_ = false;
  std::size_t values_ = 0;
  std::vector<JsonValue*> open_;
  std::string pending_key_;
  std::string complaint_;
  JsonValue root_;
};

}  // namespace

Result<JsonValue> parse_json(std::string_view text, std::size_t max_depth, std::string_view stop_key) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.substr(0, kByteOrderMark.size()) == kByteOrderMark) {
    return Status(Code::corrupt, "a byte order mark before the JSON text");
  }
  // The parser takes a zero byte for the end of the text, whatever follows it.
  if (const std::size_t at = text.find('\0'); at != std::string_view::npos) {
    return Status(Code::corrupt, "a zero byte at byte " + std::to_string(at));
  }
  Builder builder(max_depth, stop_key);
  const bool parsed = nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
  if (!parsed && !builder.stopped()) return Status(Code::corrupt, builder.complaint());
  return std::move(builder).take();
}

}  // namespace stillframe::format
