// A forked child (a DataLoader worker) must not hold our socket or arena open: both are closed in it at once.
#pragma once

namespace stillframe::client {

// Closes the descriptor in every child forked while the guard lives. Async-signal-safe in the child. At most 64 at a time;
// more are not guarded (close-on-exec still covers them).
class ForkGuard {
 public:
  ForkGuard() noexcept = default;
  explicit ForkGuard(int fd) noexcept;
  ForkGuard(ForkGuard&& other) noexcept;
  ForkGuard& operator=(ForkGuard&& other) noexcept;
  ~ForkGuard();

 private:
  void release() noexcept;
  int place_ = -1;
};

}  // namespace stillframe::client
