// flock(2) belongs to the open file description, so two locks of one process conflict as the contract wants. But a
// forked child shares that description: it would keep the lock after its parent's death (a data loader's worker would
// block the next run). Therefore every held lock is registered, and a child closes its copies right after the fork.
#include "env/posix_lock.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <mutex>
#include <unordered_set>
#include <utility>

#include "base/unique_fd.hpp"
#include "env/posix_error.hpp"
#include "env/posix_place.hpp"

namespace stillframe::env {
namespace {

class PosixLock;

struct HeldLocks {
  std::mutex mutex;
  std::unordered_set<PosixLock*> locks;
};

// Never destroyed: locks with static storage may go after it.
HeldLocks& held_locks() {
  static HeldLocks& held = *new HeldLocks;
  return held;
}

class PosixLock final : public Lock {
 public:
  explicit PosixLock(base::UniqueFd fd) : fd_(std::move(fd)) {
    const std::lock_guard guard(held_locks().mutex);
    held_locks().locks.insert(this);
  }
  ~PosixLock() override {
    const std::lock_guard guard(held_locks().mutex);
    held_locks().locks.erase(this);
    // Explicit, so that the lock ends here even when a child between fork and exec still holds a copy of the
    // descriptor.
    if (fd_.valid()) ::flock(fd_.get(), LOCK_UN);
    fd_.reset();
  }
  PosixLock(const PosixLock&) = delete;
  PosixLock& operator=(const PosixLock&) = delete;

  // In a forked child: close without unlocking, which would unlock the parent's.
  void forget() noexcept { fd_.reset(); }

 private:
  base::UniqueFd fd_;
};

void before_fork() { held_locks().mutex.lock(); }
void after_fork_in_parent() { held_locks().mutex.unlock(); }
void after_fork_in_child() {
  for (PosixLock* lock : held_locks().locks) lock->forget();
  held_locks().mutex.unlock();
}

int register_fork_handlers() { return ::pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child); }

// Whoever held the lock before may have removed or replaced the file: then what was locked is not what `path` names
// now.
bool still_named(int fd, const std::string& path) {
  struct stat locked {};
  struct stat named {};
  PosixPlace place;  // looked up again: the directory may have been moved away too
  return ::fstat(fd, &locked) == 0 && find_place(path, place) == 0 && stat_at(place, named) == 0 &&
         locked.st_dev == named.st_dev && locked.st_ino == named.st_ino;
}

int flock_now(int fd, LockMode mode) noexcept {
  int result = 0;
  do {
    result = ::flock(fd, (mode == LockMode::exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB);
  } while (result != 0 && errno == EINTR);
  return result;
}

}  // namespace

Result<std::unique_ptr<Lock>> try_posix_lock(const std::string& path, LockMode mode) {
  static const int registered = register_fork_handlers();
  if (registered != 0) return errno_status(registered, "register the fork handler for the lock", path);

  const int flags = (mode == LockMode::exclusive ? O_RDWR | O_CREAT : O_RDONLY) | O_NONBLOCK | O_NOCTTY;
  constexpr int kAttempts = 16;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    SF_ASSIGN(const PosixPlace place, posix_place("open lock file", path));
    // Whoever can open it can lock it: other users need not.
    base::UniqueFd fd = open_at(place, flags, S_IRUSR | S_IWUSR);
    if (!fd.valid()) return errno_status(errno, "open lock file", path);
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) return errno_status(errno, "inspect lock file", path);
    if (!S_ISREG(info.st_mode)) return Status(Code::io_error, "cannot lock '" + path + "': it is not a regular file");
    if (flock_now(fd.get(), mode) != 0) {
      const int error = errno;
      if (error == EWOULDBLOCK) return Status(Code::busy, "cannot lock '" + path + "': somebody else holds it");
      return errno_status(error, "lock", path);
    }
    if (still_named(fd.get(), path)) return std::unique_ptr<Lock>(std::make_unique<PosixLock>(std::move(fd)));
  }
  return Status(Code::busy, "cannot lock '" + path + "': others keep removing and making it again");
}

}  // namespace stillframe::env
