// Leaving the terminal and the job that started the daemon, with the starter told how the start went.
#pragma once

#include <functional>

#include "base/clock.hpp"
#include "base/unique_fd.hpp"
#include "stillframe/status.hpp"

namespace stillframe::apps {

// The child's end: says once how the start went. Without a parent that listens it does nothing.
class StartReport {
 public:
  StartReport() noexcept = default;
  explicit StartReport(base::UniqueFd pipe) noexcept : pipe_(std::move(pipe)) {}
  void ready() noexcept { send({}).ignore("a starter that has gone does not keep the daemon from serving"); }
  // true: the parent prints the error and ends with its code. false: nobody listens (any more), the caller has to say
  // it.
  [[nodiscard]] bool failed(const Status& status) noexcept { return send(status).ok(); }

 private:
  Status send(const Status& status) noexcept;
  base::UniqueFd pipe_;
};

// Forks; to be called before any thread is there. In the child: runs `body` in a session of its own, in the root
// directory, without inherited descriptors above 2, standard input and output on /dev/null, standard error as well
// unless `keep_error_file` and it is a regular file; then ends with the returned exit code. In the parent: waits until
// the child reports and returns that; deadline when it has not by then (the child is then killed), internal when it
// died before.
[[nodiscard]] Status run_detached(bool keep_error_file, const base::Deadline& deadline,
                                  const std::function<int(StartReport&)>& body);

}  // namespace stillframe::apps
