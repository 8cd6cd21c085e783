// Facts written on one line, and plans read back as one.
#pragma once

#include <gmock/gmock.h>

#include <sstream>
#include <string>
#include <vector>

#include "retention/plan.hpp"

namespace stillframe::retention {

inline constexpr std::uint64_t kEachBytes = 100;

// "5v@120~60#0.3 4 3b": sequences with v(erified), b(ad), p(inned), then @step, ~seconds and #loss. Left out: the step
// and the seconds are the sequence, and there is no metric. Names are c<sequence>; each takes 100 bytes.
inline Fact fact_of(const std::string& word) {
  Fact fact;
  fact.sequence = std::stoull(word);
  fact.name = "c" + std::to_string(fact.sequence);
  fact.step = static_cast<std::int64_t>(fact.sequence);
  fact.created_unix_seconds = static_cast<std::int64_t>(fact.sequence);
  fact.stored_bytes = kEachBytes;
  const auto part = [&](char mark) {
    const auto at = word.find(mark);
    return at == std::string::npos ? std::string() : word.substr(at + 1);
  };
  const std::string flags = word.substr(0, word.find_first_of("@~#"));
  fact.verified = flags.find('v') != std::string::npos;
  fact.bad = flags.find('b') != std::string::npos;
  fact.pinned = flags.find('p') != std::string::npos;
  if (!part('@').empty()) fact.step = std::stoll(part('@'));
  if (!part('~').empty()) fact.created_unix_seconds = std::stoll(part('~'));
  if (!part('#').empty()) fact.metrics["loss"] = std::stod(part('#'));
  return fact;
}

inline std::vector<Fact> facts_of(const std::string& text) {
  std::vector<Fact> facts;
  std::istringstream words(text);
  for (std::string word; words >> word;) facts.push_back(fact_of(word));
  return facts;
}

// Sequences that stay, newest first.
inline std::string kept(const Plan& plan) {
  std::string text;
  for (const Decision& decision : plan.decisions) {
    if (decision.keep) text += (text.empty() ? "" : " ") + std::to_string(decision.sequence);
  }
  return text;
}

inline Policy policy_of(const std::vector<std::pair<std::string, std::string>>& words) {
  Policy policy;
  policy.keep_last = 1;
  policy.min_free_bytes = 0;
  for (const auto& [word, text] : words) {
    const Status set = set_word(policy, word, text);
    EXPECT_TRUE(set.ok()) << set.message();
  }
  return policy;
}

constexpr std::int64_t kLater = 1'000'000;  // a now after every time in these tests

inline Plan plan_of(const Policy& policy, const std::string& facts, std::int64_t now = kLater) {
  return plan(policy, facts_of(facts), now, std::nullopt);
}

inline std::string reasons_of(const Plan& plan, std::uint64_t sequence) {
  std::string text;
  for (const Decision& decision : plan.decisions) {
    if (decision.sequence != sequence) continue;
    for (const std::string& reason : decision.reasons) text += (text.empty() ? "" : " | ") + reason;
  }
  return text;
}

}  // namespace stillframe::retention
