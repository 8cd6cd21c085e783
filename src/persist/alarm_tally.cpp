#include "persist/alarm_tally.hpp"

#include <algorithm>
#include <utility>

namespace stillframe::persist {

std::vector<AlarmTally::Change> AlarmTally::update(std::int64_t step, const std::vector<FoundAlarm>& found) {
  std::vector<Change> changes;
  std::vector<StandingAlarm> next;
  for (const FoundAlarm& alarm : found) {
    const auto before = std::find_if(standing_.begin(), standing_.end(),
                                     [&](const StandingAlarm& one) { return one.kind == alarm.kind; });
    StandingAlarm now{alarm.kind, alarm.subject, alarm.text, step, 1};
    if (before != standing_.end()) {
      now.since_step = before->since_step;
      now.times = before->times + 1;
    }
    if (before == standing_.end() || before->subject != alarm.subject) {
      changes.push_back({Change::What::raised, now});
    }
    next.push_back(std::move(now));
  }
  for (StandingAlarm& before : standing_) {
    const bool stands = std::any_of(found.begin(), found.end(), [&](const FoundAlarm& one) { return one.kind == before.kind; });
    if (!stands) changes.push_back({Change::What::cleared, std::move(before)});
  }
  standing_ = std::move(next);
  return changes;
}

}  // namespace stillframe::persist
