// Alarms over time: said once in full, then counted until they clear. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "persist/inspector.hpp"

namespace stillframe::persist {

struct StandingAlarm {
  std::string kind;
  std::string subject;
  std::string text;  // of the newest snapshot
  std::int64_t since_step = 0;
  std::uint64_t times = 0;  // snapshots in a row
};

class AlarmTally {
 public:
  struct Change {
    enum class What : std::uint8_t { raised, cleared } what = What::raised;
    StandingAlarm alarm;
  };
  // The alarms of the next snapshot. What changed: an alarm that was not there before, or of another subject, is raised; one
  // that is no longer there is cleared.
  [[nodiscard]] std::vector<Change> update(std::int64_t step, const std::vector<FoundAlarm>& found);
  [[nodiscard]] const std::vector<StandingAlarm>& standing() const noexcept { return standing_; }

 private:
  std::vector<StandingAlarm> standing_;
};

}  // namespace stillframe::persist
