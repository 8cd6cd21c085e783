// A retention policy as JSON, and each line "word=value" of the input as a flag.
#include <algorithm>

#include "harness.hpp"
#include "retention/policy.hpp"

namespace stillframe::fuzz {
namespace {

void require_written_back(const retention::Policy& policy) {
  require(retention::check(policy).ok(), "a policy was taken that its own check refuses");
  require(policy.keep_last >= 1 && policy.min_verified >= 1, "a policy that keeps nothing was taken");
  const auto again = retention::policy_from_json(retention::policy_to_json(policy));
  require(again.ok(), "a policy that was taken is refused once written");
  require(*again == policy, "a policy changes when it is written and read");
}

void check_json(std::string_view text) {
  const MemoryBound bound(text.size(), 512, 64 * 1024);
  const auto policy = retention::policy_from_json(text);
  require_words(policy);
  if (policy.ok()) require_written_back(*policy);
}

void check_words(std::string_view text) {
  const MemoryBound bound(text.size(), 512, 64 * 1024);
  retention::Policy policy;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const std::size_t equals = line.find('=');
    if (equals == std::string_view::npos) continue;
    const retention::Policy before = policy;
    const Status set = retention::set_word(policy, line.substr(0, equals), line.substr(equals + 1));
    require_words(set);
    require(set.ok() || policy == before, "a refused word changed the policy");
  }
  require_written_back(policy);
}

}  // namespace
}  // namespace stillframe::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = stillframe::fuzz::text_of(data, size);
  stillframe::fuzz::check_json(text);
  stillframe::fuzz::check_words(text);
  return 0;
}
