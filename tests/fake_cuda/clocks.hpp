// Vector clocks, and the memory of who touched which byte last. No threads, no locks: the caller holds the driver's.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace stillframe::fake_cuda {

using Entity = std::uint32_t;  // something that acts in an order of its own: a stream, or the host (or a thread of it)

class VectorClock {
 public:
  [[nodiscard]] std::uint64_t at(Entity entity) const { return entity < times_.size() ? times_[entity] : 0; }

  void raise(Entity entity, std::uint64_t time) {
    if (times_.size() <= entity) times_.resize(entity + 1);
    times_[entity] = std::max(times_[entity], time);
  }

  void join(const VectorClock& other) {
    if (times_.size() < other.times_.size()) times_.resize(other.times_.size());
    for (std::size_t i = 0; i < other.times_.size(); ++i) times_[i] = std::max(times_[i], other.times_[i]);
  }

 private:
  std::vector<std::uint64_t> times_;
};

// One access: the `time`-th act of `entity`.
struct Moment {
  Entity entity = 0;
  std::uint64_t time = 0;  // 0: never
  const char* what = "";
};

struct ByteRange {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
};

class RaceDetector {
 public:
  // Notes an access by `moment`, whose entity knows what `clock` says. The text of the first race that it is part of.
  [[nodiscard]] std::optional<std::string> access(const ByteRange& range, bool writes, const Moment& moment,
                                                  const VectorClock& clock);
  // The range is other memory from now on.
  void forget(const ByteRange& range);
  // Whether every access noted for the range satisfies `holds`.
  [[nodiscard]] bool all(const ByteRange& range, const std::function<bool(const Moment&)>& holds) const;

 private:
  struct Segment {
    std::uintptr_t end = 0;
    Moment write;
    std::vector<Moment> reads;  // since the write, the last one of each entity
  };

  void split(std::uintptr_t at);
  void fill_gaps(const ByteRange& range);

  std::map<std::uintptr_t, Segment> segments_;  // by begin; they do not overlap
};

}  // namespace stillframe::fake_cuda
