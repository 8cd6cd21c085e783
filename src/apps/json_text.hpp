// The JSON documents that --json prints. Private to the .cpp files of the commands.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "apps/summary.hpp"

namespace stillframe::apps {

// Indented, with a newline at the end. Bytes that are not UTF-8 (a path may hold any) are replaced, so that the
// document is always valid; letters that a terminal would obey are escaped.
[[nodiscard]] std::string json_text(const nlohmann::ordered_json& document);

// Members of `ls`, as its help lists them; null where an unreadable checkpoint does not say.
[[nodiscard]] nlohmann::ordered_json to_json(const Summary& summary);

// null when it is empty.
[[nodiscard]] nlohmann::ordered_json text_or_null(const std::string& text);

}  // namespace stillframe::apps
