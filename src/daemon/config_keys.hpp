// What each configuration key accepts and where its value goes: the one list behind the file, the flags and --help.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/config.hpp"

namespace stillframe::daemon {

struct KeyRule {
  ConfigKey key;
  std::string expected;  // "an integer from 1 to 4096", "one of …": what the error says
  // Exactly one of the three is set. false: the value is not what is expected, and nothing was changed.
  std::function<bool(Config&, std::uint64_t)> set_integer;
  std::function<bool(Config&, const std::string&)> set_string;
  // Takes an integer, a string, or a list of either with commas between them, as text. The message stands for
  // "expected …, found …" and says which part was not taken.
  std::function<Status(Config&, const std::string&)> set_text;
};

[[nodiscard]] const std::vector<KeyRule>& key_rules();

// The candidate with the smallest edit distance to `text`; empty when none is near (more than a third must be typed
// anew).
[[nodiscard]] std::string nearest(std::string_view text, const std::vector<std::string>& candidates);
// What an unknown key may have meant; empty when none is near. Of "persist.codec", as it was once, "persist.level".
[[nodiscard]] std::string suggested_key(std::string_view name);

}  // namespace stillframe::daemon
