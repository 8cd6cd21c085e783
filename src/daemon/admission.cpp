#include "daemon/admission.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

namespace stillframe::daemon {
namespace {

constexpr uid_t kRoot = 0;
constexpr std::size_t kMostQuoted = 64;

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

std::optional<uid_t> uid_of(std::string_view word) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  if (error != std::errc{} || end != word.data() + word.size() || number > kLargestUid) return std::nullopt;
  return static_cast<uid_t>(number);
}

Status not_taken(const std::string& found) {
  return {Code::invalid_argument, "expected " + expected_uids() + ", found " + found};
}

}  // namespace

Status may_use(uid_t own, const std::vector<uid_t>& allowed, uid_t peer) {
  if (peer == own || peer == kRoot || std::ranges::find(allowed, peer) != allowed.end()) return {};
  return {Code::invalid_argument, "user " + std::to_string(peer) + " may not use this daemon, which runs as user " +
                                      std::to_string(own) + "; its configuration can allow it: daemon.allowed_uids"};
}

Status parse_uids(const std::string& text, std::vector<uid_t>& uids) {
  std::vector<uid_t> read;
  if (!trimmed(text).empty()) {
    for (std::size_t from = 0; from <= text.size();) {
      const std::size_t comma = std::min(text.find(',', from), text.size());
      const std::string_view word = trimmed(std::string_view(text).substr(from, comma - from));
      const auto uid = uid_of(word);
      if (!uid) return not_taken("\"" + std::string(word.substr(0, kMostQuoted)) + "\"");
      if (read.size() == kMostAllowedUids) return not_taken("more of them");
      read.push_back(*uid);
      from = comma + 1;
    }
  }
  uids = std::move(read);
  return {};
}

std::string expected_uids() {
  return "a list of at most " + std::to_string(kMostAllowedUids) + " user ids, each a whole number from 0 to " +
         std::to_string(kLargestUid);
}

}  // namespace stillframe::daemon
