// What retention must know of a store.
#include <charconv>
#include <chrono>

#include "persist/retention_task.hpp"
#include "store/checkpoint_files.hpp"

namespace stillframe::persist {
namespace {

// "2026-11-22T12:30:05Z", as the manifest's check lets it through; its time is a label, and 1970 when it is none.
std::int64_t unix_seconds_of(std::string_view utc) {
  const auto field = [&](std::size_t at, std::size_t digits) {
    int value = 0;
    if (utc.size() >= at + digits) std::from_chars(utc.data() + at, utc.data() + at + digits, value);
    return value;
  };
  const std::chrono::year_month_day day{std::chrono::year{field(0, 4)},
                                        std::chrono::month{static_cast<unsigned>(field(5, 2))},
                                        std::chrono::day{static_cast<unsigned>(field(8, 2))}};
  if (!day.ok()) return 0;
  const std::chrono::sys_seconds time = std::chrono::sys_days(day) + std::chrono::hours(field(11, 2)) +
                                        std::chrono::minutes(field(14, 2)) + std::chrono::seconds(field(17, 2));
  return time.time_since_epoch().count();
}

Result<std::uint64_t> store_bytes(const store::Store& store) {
  SF_ASSIGN(const auto checkpoints, store.list());
  std::uint64_t sum = 0;
  for (const auto& checkpoint : checkpoints) {
    const std::string dir = env::join(store.path(), checkpoint.name);
    const auto files = store.env().list(dir);
    if (!files.ok()) continue;
    for (const auto& entry : *files) {
      const auto file = store.env().open(env::join(dir, entry.name));
      if (!file.ok()) continue;
      const auto bytes = (*file)->size();
      if (bytes.ok()) sum += *bytes;
    }
  }
  return sum;
}

}  // namespace

Result<std::vector<retention::Fact>> facts(const store::Store& store, const std::string& run,
                                           const retention::Policy& /*policy*/) {
  SF_ASSIGN(const auto checkpoints, store.list());
  std::vector<retention::Fact> found;
  for (const auto& checkpoint : checkpoints) {
    const auto opened = store::open_manifest(store, checkpoint.name, store::ReadFrom::cache);
    if (!opened.ok() || opened->manifest.run != run) continue;
    const auto marks = store.marks(checkpoint.name);
    if (!marks.ok() && marks.status().code() == Code::not_found) continue;  // removed meanwhile
    if (!marks.ok()) return marks.status();
    retention::Fact fact;
    fact.sequence = checkpoint.parsed.sequence;
    fact.name = checkpoint.name;
    fact.step = checkpoint.parsed.step;
    fact.created_unix_seconds = unix_seconds_of(opened->manifest.created_utc);
    fact.verified = marks->verified;
    fact.bad = marks->bad;
    fact.pinned = marks->pinned;
    for (const auto& rank : opened->manifest.ranks) fact.stored_bytes += rank.data.bytes + rank.table.bytes;
    found.push_back(std::move(fact));
  }
  return found;
}

Result<retention::Space> space_of(const store::Store& store, const retention::Policy& policy,
                                  std::uint64_t needed_bytes) {
  retention::Space space;
  space.needed_bytes = needed_bytes;
  if (policy.max_bytes != 0) {
    SF_ASSIGN(space.store_bytes, store_bytes(store));
  }
  SF_ASSIGN(const env::SpaceInfo disk, store.env().space(store.path()));
  space.free_bytes = disk.free_bytes;
  return space;
}

}  // namespace stillframe::persist
