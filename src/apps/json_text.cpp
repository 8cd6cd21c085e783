#include "apps/json_text.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

#include "apps/table.hpp"

namespace stillframe::apps {

using nlohmann::ordered_json;

namespace {

std::string escaped(char32_t code) {
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), "\\u%04x", static_cast<unsigned>(code));
  return text.data();
}

}  // namespace

// Inside a text, the only place where such a letter can stand, the escaped form means the same.
std::string json_text(const ordered_json& document) {
  const std::string plain = document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
  std::string safe;
  safe.reserve(plain.size());
  for (std::string_view rest = plain; !rest.empty();) {
    const Letter letter = first_letter(rest);
    const std::size_t bytes = std::max<std::size_t>(letter.bytes, 1);
    if (letter.code > ' ' && commands_terminal(letter.code)) {
      safe += escaped(letter.code);
    } else {
      safe += rest.substr(0, bytes);
    }
    rest.remove_prefix(bytes);
  }
  return safe;
}

ordered_json text_or_null(const std::string& text) { return text.empty() ? ordered_json(nullptr) : ordered_json(text); }

ordered_json to_json(const Summary& summary) {
  ordered_json document = {{"name", summary.name},
                           {"sequence", summary.sequence},
                           {"step", summary.step},
                           {"run", nullptr},
                           {"created_utc", summary.utc},
                           {"state", state_name(summary.state)},
                           {"pinned", summary.pinned},
                           {"pin_reason", text_or_null(summary.pin_reason)},
                           {"confirmed", nullptr},
                           {"world_size", nullptr},
                           {"raw_bytes", nullptr},
                           {"stored_bytes", nullptr},
                           {"metrics", nullptr},
                           {"alarms", nullptr},
                           {"problem", text_or_null(summary.problem)}};
  if (!summary.head) return document;
  const format::ManifestHead& head = *summary.head;
  document["run"] = head.run;
  document["confirmed"] = head.confirmed;
  document["world_size"] = head.world_size;
  document["raw_bytes"] = head.raw_bytes;
  document["stored_bytes"] = summary.stored_bytes;
  document["metrics"] = ordered_json::parse(head.metrics_json, nullptr, false);
  document["alarms"] = ordered_json::array();
  for (const format::Alarm& alarm : head.alarms) {
    document["alarms"].push_back({{"kind", alarm.kind}, {"text", alarm.text}});
  }
  return document;
}

}  // namespace stillframe::apps
