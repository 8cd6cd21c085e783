#include "daemon/status_fit.hpp"

#include <array>
#include <string>
#include <string_view>

#include "transport/transport.hpp"

namespace stillframe::daemon {
namespace {

using nlohmann::json;

constexpr std::array<std::size_t, 9> kTextLimitsBytes{4096, 2048, 1024, 512, 256, 128, 64, 32, 16};

protocol::StatusReply reply_of(const json& document) {
  return {document.dump(-1, ' ', false, json::error_handler_t::replace)};
}

bool fits(const protocol::StatusReply& reply) { return protocol::encode(reply).size() <= transport::kMaxMessageBytes; }

// Never cuts a letter of UTF-8 in two.
void shorten(json& text, std::size_t limit_bytes) {
  constexpr std::string_view kMore = "...";
  if (!text.is_string() || text.get_ref<const std::string&>().size() <= limit_bytes) return;
  std::string cut = text.get<std::string>();
  std::size_t end = limit_bytes - kMore.size();
  while (end > 0 && (static_cast<unsigned char>(cut[end]) & 0xC0U) == 0x80U) --end;
  cut.resize(end);
  text = cut.append(kMore);
}

void shorten_texts(json& document, std::size_t limit_bytes) {
  for (json& session : document["sessions"]) {
    shorten(session["last_error"], limit_bytes);
    for (json& alarm : session["alarms"]) shorten(alarm["text"], limit_bytes);
  }
  for (json& scrub : document["scrub"]) shorten(scrub["last"], limit_bytes);
}

// The first `kept` sessions, and the scrubs of their stores.
json without_last_sessions(const json& document, std::size_t kept) {
  const json& sessions = document["sessions"];
  json fewer = document;
  fewer["sessions"] = json::array();
  fewer["scrub"] = json::object();
  fewer["sessions_left_out"] = sessions.size() - kept;
  for (std::size_t i = 0; i < kept; ++i) {
    fewer["sessions"].push_back(sessions[i]);
    const auto store = sessions[i]["store"].get<std::string>();
    if (const auto scrub = document["scrub"].find(store); scrub != document["scrub"].end()) {
      fewer["scrub"][store] = *scrub;
    }
  }
  return fewer;
}

}  // namespace

protocol::StatusReply fitted_status(json document) {
  protocol::StatusReply reply = reply_of(document);
  if (fits(reply)) return reply;
  for (const std::size_t limit_bytes : kTextLimitsBytes) {
    shorten_texts(document, limit_bytes);
    reply = reply_of(document);
    if (fits(reply)) return reply;
  }
  // The most that fit: found by halving.
  std::size_t fitting = 0;
  for (std::size_t too_many = document["sessions"].size(); too_many - fitting > 1;) {
    const std::size_t middle = fitting + (too_many - fitting) / 2;
    (fits(reply_of(without_last_sessions(document, middle))) ? fitting : too_many) = middle;
  }
  return reply_of(without_last_sessions(document, fitting));
}

}  // namespace stillframe::daemon
