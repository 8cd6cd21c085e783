#include <algorithm>
#include <string>

#include "format/manifest.hpp"
#include "format/manifest_seal.hpp"

namespace stillframe::format {
namespace {

void skip_space(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t\n\r"), text.size()));
}

bool take(std::string_view& text, std::string_view token) {
  skip_space(text);
  if (!text.starts_with(token)) return false;
  text.remove_prefix(token.size());
  return true;
}

// The digits of the version; empty when the text does not begin as every version's manifest does. No JSON parser: it
// would hold the rest of the text to the limits of this version.
std::string_view version_digits(std::string_view text) {
  for (const std::string_view token : {"{", "\"format\"", ":", "\"stillframe\"", ",", "\"version\"", ":"}) {
    if (!take(text, token)) return {};
  }
  skip_space(text);
  const std::size_t end = std::min(text.find_first_not_of("0123456789"), text.size());
  const std::string_view digits = text.substr(0, end);
  text.remove_prefix(end);
  const bool is_integer = !digits.empty() && digits.front() != '0';
  return is_integer && (take(text, ",") || take(text, "}")) ? digits : std::string_view();
}

}  // namespace

std::string known_versions() { return "versions 1 to " + std::to_string(kFormatVersion); }

Status later_version(std::string_view version) {
  constexpr std::size_t kShownDigits = 20;
  return {Code::unsupported, "format version " + std::string(version.substr(0, kShownDigits)) +
                                 " was written by a later Stillframe; this build reads " + known_versions() +
                                 ". The checkpoint was not touched: read it with the newer program"};
}

Status check_not_later(std::string_view first_bytes) {
  const std::string_view digits = version_digits(first_bytes.substr(0, kVersionPrefixBytes));
  const std::string known = std::to_string(kFormatVersion);
  const bool later = digits.size() > known.size() || (digits.size() == known.size() && digits > known);
  return later ? later_version(digits) : Status();
}

}  // namespace stillframe::format
