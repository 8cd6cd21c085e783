#include "fake_cuda/clocks.hpp"

#include <sstream>

namespace stillframe::fake_cuda {
namespace {

bool ordered(const Moment& earlier, const VectorClock& clock) { return clock.at(earlier.entity) >= earlier.time; }

std::string text_of(const ByteRange& range, bool writes, const Moment& moment, bool earlier_writes,
                    const Moment& earlier) {
  std::ostringstream text;
  text << moment.what << (writes ? " writes " : " reads ") << (range.end - range.begin) << " bytes at 0x" << std::hex
       << range.begin << std::dec << " in stream " << moment.entity << ", not ordered after " << earlier.what
       << (earlier_writes ? ", which writes" : ", which reads") << " there in stream " << earlier.entity;
  return text.str();
}

}  // namespace

std::optional<std::string> RaceDetector::access(const ByteRange& range, bool writes, const Moment& moment,
                                                const VectorClock& clock) {
  std::optional<std::string> race;
  if (range.begin >= range.end) return race;
  split(range.begin);
  split(range.end);
  fill_gaps(range);
  const auto first = segments_.lower_bound(range.begin);
  const auto last = segments_.lower_bound(range.end);
  for (auto at = first; at != last; ++at) {
    Segment& segment = at->second;
    const ByteRange touched{at->first, segment.end};
    if (!race && !ordered(segment.write, clock)) race = text_of(touched, writes, moment, true, segment.write);
    if (writes) {
      for (const Moment& read : segment.reads) {
        if (!race && !ordered(read, clock)) race = text_of(touched, writes, moment, false, read);
      }
      continue;
    }
    std::erase_if(segment.reads, [&](const Moment& read) { return ordered(read, clock); });
    segment.reads.push_back(moment);
  }
  if (writes) {
    segments_.erase(first, last);
    segments_.emplace(range.begin, Segment{range.end, moment, {}});
  }
  return race;
}

void RaceDetector::forget(const ByteRange& range) {
  split(range.begin);
  split(range.end);
  segments_.erase(segments_.lower_bound(range.begin), segments_.lower_bound(range.end));
}

bool RaceDetector::all(const ByteRange& range, const std::function<bool(const Moment&)>& holds) const {
  auto at = segments_.upper_bound(range.begin);
  if (at != segments_.begin()) --at;
  for (; at != segments_.end() && at->first < range.end; ++at) {
    if (at->second.end <= range.begin) continue;
    if (!holds(at->second.write)) return false;
    if (!std::all_of(at->second.reads.begin(), at->second.reads.end(), holds)) return false;
  }
  return true;
}

void RaceDetector::split(std::uintptr_t at) {
  auto next = segments_.upper_bound(at);
  if (next == segments_.begin()) return;
  auto& [begin, segment] = *std::prev(next);
  if (begin == at || segment.end <= at) return;
  Segment rest = segment;
  segment.end = at;
  segments_.emplace_hint(next, at, std::move(rest));
}

void RaceDetector::fill_gaps(const ByteRange& range) {
  std::uintptr_t at = range.begin;
  auto next = segments_.lower_bound(range.begin);
  while (at < range.end) {
    if (next != segments_.end() && next->first == at) {
      at = next->second.end;
      ++next;
      continue;
    }
    const std::uintptr_t end = next == segments_.end() ? range.end : std::min(range.end, next->first);
    segments_.emplace_hint(next, at, Segment{end, {}, {}});
    at = end;
  }
}

}  // namespace stillframe::fake_cuda
