// A status that must come through, whatever the sessions have to say.
#include "daemon/status_fit.hpp"

#include <gmock/gmock.h>

#include "transport/transport.hpp"

namespace stillframe::daemon {
namespace {

using nlohmann::json;

struct Wanted {
  std::size_t sessions = 0;
  std::size_t error_bytes = 0;
  std::size_t path_bytes = 0;
  const char* letter = "x";
};

std::string text_of(std::size_t bytes, const char* letter) {
  std::string text;
  while (text.size() < bytes) text += letter;
  return text;
}

json document_of(const Wanted& wanted) {
  json document{
      {"daemon", {{"pid", 1}, {"socket", "/run/s.sock"}}}, {"scrub", json::object()}, {"sessions", json::array()}};
  for (std::size_t i = 0; i < wanted.sessions; ++i) {
    const std::string store = "/runs/" + std::to_string(i) + std::string(wanted.path_bytes, 'p');
    const std::string error = text_of(wanted.error_bytes, wanted.letter);
    document["sessions"].push_back({{"run", "main"},
                                    {"store", store},
                                    {"last_error", error},
                                    {"alarms", {{{"kind", "stale_tensors"}, {"text", error}, {"times", 3}}}}});
    document["scrub"][store] = {{"checked", 1}, {"bad", 0}, {"last", error}};
  }
  return document;
}

// What arrives, or null where nothing could be sent.
json sent(const json& document) {
  const protocol::StatusReply reply = fitted_status(document);
  if (protocol::encode(reply).size() > transport::kMaxMessageBytes) return nullptr;
  return json::parse(reply.json, nullptr, false);
}

TEST(StatusFit, WhatFitsIsSentAsItIs) {
  const json document = document_of({.sessions = 3, .error_bytes = 2000});
  EXPECT_EQ(sent(document), document);
}

TEST(StatusFit, LongErrorsOfManySessionsAreShortenedAndEverySessionIsThere) {
  for (const char* letter : {"x", "\"", "\n", "\u00e9", "\u2028"}) {
    const json status = sent(document_of({.sessions = 200, .error_bytes = 2000, .letter = letter}));
    ASSERT_TRUE(status.is_object()) << letter;
    ASSERT_EQ(status["sessions"].size(), 200U) << letter;
    EXPECT_FALSE(status.contains("sessions_left_out"));
    for (const json& session : status["sessions"]) {
      const auto error = session["last_error"].get<std::string>();
      EXPECT_THAT(error, testing::EndsWith("..."));
      EXPECT_EQ(error.find("\xEF\xBF\xBD"), std::string::npos) << "a letter was cut in two";
      EXPECT_EQ(session["alarms"][0]["times"], 3);
    }
  }
}

TEST(StatusFit, SessionsThatDoNotFitAreCounted) {
  const json status = sent(document_of({.sessions = 500, .error_bytes = 2000, .path_bytes = 1000}));
  ASSERT_TRUE(status.is_object());
  const std::size_t there = status["sessions"].size();
  EXPECT_GT(there, 20U);
  EXPECT_EQ(status["sessions_left_out"], 500 - there);
  EXPECT_EQ(status["scrub"].size(), there);
  EXPECT_EQ(status["daemon"]["pid"], 1);
}

}  // namespace
}  // namespace stillframe::daemon
