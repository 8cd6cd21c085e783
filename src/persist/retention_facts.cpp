// What retention must know of a store.
#include <charconv>
#include <chrono>

#include "persist/retention_task.hpp"
#include "store/catalog.hpp"

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

}  // namespace

Result<std::vector<retention::Fact>> facts(const store::Store& store, const std::string& run) {
  SF_ASSIGN(const auto catalog, store::read_catalog(store));
  std::vector<retention::Fact> found;
  for (const store::CatalogEntry& entry : catalog) {
    if (!entry.head.ok() || entry.head->run != run) continue;
    retention::Fact fact;
    fact.sequence = entry.ref.parsed.sequence;
    fact.name = entry.ref.name;
    fact.step = entry.head->step;
    fact.created_unix_seconds = unix_seconds_of(entry.head->created_utc);
    fact.verified = entry.marks.verified;
    fact.bad = entry.marks.bad;
    fact.pinned = entry.marks.pinned;
    fact.stored_bytes = entry.head->stored_bytes;
    fact.metrics = format::metric_numbers(entry.head->metrics_json);
    found.push_back(std::move(fact));
  }
  return found;
}

Result<retention::Space> space_of(const store::Store& store, const retention::Policy& policy,
                                  std::uint64_t needed_bytes) {
  retention::Space space;
  space.needed_bytes = needed_bytes;
  if (policy.max_bytes != 0) {
    SF_ASSIGN(space.store_bytes, store::store_bytes(store));
  }
  SF_ASSIGN(const env::SpaceInfo disk, store.env().space(store.path()));
  space.free_bytes = disk.free_bytes;
  return space;
}

}  // namespace stillframe::persist
