// A progress bar on standard error: drawn only on a terminal, and only once the work has taken a second.
#pragma once

#include <cstdint>
#include <string>

namespace stillframe::apps {

// One thread at a time. The destructor wipes the bar, so that what follows starts on a clean line.
class Progress {
 public:
  explicit Progress(std::string label);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(std::uint64_t done_bytes, std::uint64_t total_bytes);

 private:
  std::string label_;
  bool on_terminal_ = false;
  bool drawn_ = false;
  std::int64_t next_draw_ns_ = 0;
};

}  // namespace stillframe::apps
