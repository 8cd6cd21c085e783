#include "protocol/messages.hpp"

#include <limits>
#include <nlohmann/json.hpp>

namespace stillframe::protocol {
namespace {

using Json = nlohmann::json;

// Every message names its members once, in fields(); writer and reader below walk the same list.
template <typename V> void fields(V& v, Hello& m) {
  v("protocol", m.protocol), v("client_version", m.client_version), v("store", m.store), v("run", m.run);
  v("group", m.group), v("rank", m.rank), v("world_size", m.world_size), v("generation", m.generation);
  v("budget_bytes", m.budget_bytes);
  v("retention_json", m.retention_json), v("persist_every_steps", m.persist_every_steps);
  v("persist_every_seconds", m.persist_every_seconds), v("pid", m.pid), v("adopt", m.adopt);
  v.may_lack("reads_format", m.reads_format), v.may_lack("store_file_id", m.store_file_id);
  v.may_lack("newest_checkpoint", m.newest_checkpoint);
}
template <typename V> void fields(V& v, Settle& m) { v("deadline_ms", m.deadline_ms); }
template <typename V> void fields(V& v, ArenaRequest& m) {
  v("image_bytes", m.image_bytes), v("descriptor_bytes", m.descriptor_bytes), v("deadline_ms", m.deadline_ms);
  v("while_training", m.while_training);
}
template <typename V> void fields(V&, Bye&) {}
template <typename V> void fields(V&, StatusRequest&) {}
template <typename V> void fields(V& v, Welcome& m) {
  v("protocol", m.protocol), v("daemon_version", m.daemon_version), v("daemon_pid", m.daemon_pid);
  v("generation", m.generation);
  v("persist_every_steps", m.persist_every_steps), v("persist_every_seconds", m.persist_every_seconds);
  if (m.protocol >= kFirstWithStoreId) v("store_file_id", m.store_file_id);
}
template <typename V> void fields(V& v, ArenaReady& m) {
  v("slots", m.slots), v("committed_slots", m.committed_slots), v("budget_bytes", m.budget_bytes);
}
template <typename V> void fields(V&, Done&) {}
template <typename V> void fields(V& v, Failure& m) { v("code", m.code), v("message", m.message); }
template <typename V> void fields(V& v, StatusReply& m) { v("json", m.json); }
template <typename V> void fields(V& v, SnapshotNews& m) {
  v("snapshot_id", m.snapshot_id), v("state", m.state), v("sequence", m.sequence), v("name", m.name);
  v("raw_bytes", m.raw_bytes), v("stored_bytes", m.stored_bytes), v("code", m.code), v("error", m.error);
  v("alarms", m.alarms);
}

template <typename V> void fields(V& v, HotRequest& m) { v("deadline_ms", m.deadline_ms); }
template <typename V> void fields(V&, HotDone&) {}
template <typename V> void fields(V& v, HotImage& m) {
  v("record", m.record), v("snapshot_id", m.snapshot_id), v("step", m.step), v("image_bytes", m.image_bytes);
  v("descriptor_bytes", m.descriptor_bytes), v("name", m.name);
}
template <typename V> void fields(V& v, HotNone& m) { v("why", m.why); }

template <typename M> constexpr const char* kType = nullptr;
template <> constexpr const char* kType<Hello> = "hello";
template <> constexpr const char* kType<Settle> = "settle";
template <> constexpr const char* kType<ArenaRequest> = "arena_request";
template <> constexpr const char* kType<Bye> = "bye";
template <> constexpr const char* kType<StatusRequest> = "status_request";
template <> constexpr const char* kType<Welcome> = "welcome";
template <> constexpr const char* kType<ArenaReady> = "arena_ready";
template <> constexpr const char* kType<Done> = "done";
template <> constexpr const char* kType<Failure> = "failure";
template <> constexpr const char* kType<StatusReply> = "status_reply";
template <> constexpr const char* kType<SnapshotNews> = "snapshot_news";
template <> constexpr const char* kType<HotRequest> = "hot_request";
template <> constexpr const char* kType<HotDone> = "hot_done";
template <> constexpr const char* kType<HotImage> = "hot_image";
template <> constexpr const char* kType<HotNone> = "hot_none";

struct Writer {
  Json& json;
  template <typename T> void operator()(const char* key, T& value) { json[key] = value; }
  template <typename T> void may_lack(const char* key, T& value) { json[key] = value; }
  void operator()(const char* key, Code& code) { json[key] = static_cast<std::int32_t>(code); }
  void operator()(const char* key, std::vector<Alarm>& alarms) {
    Json& list = json[key] = Json::array();
    for (const Alarm& alarm : alarms) list.push_back({{"kind", alarm.kind}, {"text", alarm.text}});
  }
};

struct Reader {
  const Json& json;
  std::size_t taken = 1;  // "type"
  std::string offence = {};

  const Json* member(const char* key) {
    const auto found = json.find(key);
    if (found == json.end()) {
      if (offence.empty()) offence = std::string("'") + key + "' is missing";
      return nullptr;
    }
    ++taken;
    return &*found;
  }
  // A member that older senders do not know: the value stays.
  template <typename T> void may_lack(const char* key, T& value) {
    if (json.contains(key)) (*this)(key, value);
  }
  void refuse(const char* key, const char* expected) {
    if (offence.empty()) offence = std::string("'") + key + "' is not " + expected;
  }
  void operator()(const char* key, std::string& value) {
    const Json* found = member(key);
    if (found == nullptr) return;
    if (!found->is_string()) return refuse(key, "a string");
    value = found->get<std::string>();
  }
  void operator()(const char* key, bool& value) {
    const Json* found = member(key);
    if (found == nullptr) return;
    if (!found->is_boolean()) return refuse(key, "true or false");
    value = found->get<bool>();
  }
  template <std::unsigned_integral T> void operator()(const char* key, T& value) {
    const Json* found = member(key);
    if (found == nullptr) return;
    if (!found->is_number_unsigned() || found->get<std::uint64_t>() > std::numeric_limits<T>::max()) {
      return refuse(key, "a whole number in range");
    }
    value = found->get<T>();
  }
  void operator()(const char* key, std::int64_t& value) {
    const Json* found = member(key);
    if (found == nullptr) return;
    const bool fits = found->is_number_integer() &&
                      (!found->is_number_unsigned() ||
                       found->get<std::uint64_t>() <= std::uint64_t{std::numeric_limits<std::int64_t>::max()});
    if (!fits) return refuse(key, "a whole number in range");
    value = found->get<std::int64_t>();
  }
  void operator()(const char* key, Code& code) {
    std::int64_t number = 0;
    (*this)(key, number);
    if (number < 0 || number > static_cast<std::int64_t>(Code::internal)) return refuse(key, "a known code");
    code = static_cast<Code>(number);
  }
  void operator()(const char* key, std::vector<Alarm>& alarms) {
    const Json* found = member(key);
    if (found == nullptr) return;
    if (!found->is_array()) return refuse(key, "a list");
    for (const Json& one : *found) {
      const bool whole = one.is_object() && one.size() == 2 && one.contains("kind") && one["kind"].is_string() &&
                         one.contains("text") && one["text"].is_string();
      if (!whole) return refuse(key, "a list of kinds and texts");
      alarms.push_back({one["kind"].get<std::string>(), one["text"].get<std::string>()});
    }
  }
};

Status check_version(const Json& json, std::string_view type) {
  if (type != kType<Hello> && type != kType<Welcome>) return {};
  const auto version = json.find("protocol");
  if (version == json.end() || !version->is_number_unsigned()) return {};
  const std::uint32_t oldest = type == kType<Hello> ? kOldestTrainersVersion : kProtocolVersion;
  if (version->get<std::uint64_t>() >= oldest && version->get<std::uint64_t>() <= kProtocolVersion) return {};
  return {Code::unsupported, "the other side speaks protocol version " + version->dump() + ", this one speaks " +
                                 std::to_string(kProtocolVersion) + ": trainer and daemon must be of one release; restart "
                                 "the older one"};
}

template <typename M> Result<Message> read_as(const Json& json) {
  M message;
  Reader reader{json};
  fields(reader, message);
  if (reader.offence.empty() && reader.taken != json.size()) reader.offence = "it has members that are not known";
  if (!reader.offence.empty()) {
    return Status(Code::corrupt, std::string("message '") + kType<M> + "': " + reader.offence);
  }
  return Message(std::move(message));
}

template <std::size_t I = 0> Result<Message> read_by_type(std::string_view type, const Json& json) {
  if constexpr (I == std::variant_size_v<Message>) {
    return Status(Code::corrupt, "message of unknown type '" + std::string(type.substr(0, 40)) + "'");
  } else {
    using M = std::variant_alternative_t<I, Message>;
    if (type == kType<M>) return read_as<M>(json);
    return read_by_type<I + 1>(type, json);
  }
}

// The deepest is a list of alarms in the news: four levels are one more than any has, and bound the parser's stack.
bool too_deep(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      else if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > 4) return true;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return false;
}

}  // namespace

std::string encode(const Message& message) {
  return std::visit(
      [](auto copy) {
        Json json = Json::object();
        json["type"] = kType<decltype(copy)>;
        Writer writer{json};
        fields(writer, copy);
        return json.dump(-1, ' ', false, Json::error_handler_t::replace);
      },
      message);
}

Result<Message> decode(std::string_view text) {
  if (too_deep(text)) return Status(Code::corrupt, "message is nested too deeply");
  // The parser takes a zero byte for the end of the text, whatever follows it.
  if (text.find('\0') != std::string_view::npos) return Status(Code::corrupt, "message holds a zero byte");
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return Status(Code::corrupt, "message is not a JSON object");
  const auto type = json.find("type");
  if (type == json.end() || !type->is_string()) return Status(Code::corrupt, "message has no type");
  SF_TRY(check_version(json, type->get_ref<const std::string&>()));
  return read_by_type(type->get_ref<const std::string&>(), json);
}

}  // namespace stillframe::protocol
