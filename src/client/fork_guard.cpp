#include "client/fork_guard.hpp"

#include <pthread.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <utility>

namespace stillframe::client {
namespace {

constexpr int kFree = -1;

std::array<std::atomic<int>, 64>& guarded() noexcept {
  static auto* const places = [] {
    auto* made = new std::array<std::atomic<int>, 64>;  // never destroyed: a fork may come at any time
    for (auto& place : *made) place = kFree;
    return made;
  }();
  return *places;
}

void close_in_child() noexcept {
  for (auto& place : guarded()) {
    const int fd = place.exchange(kFree);
    if (fd != kFree) ::close(fd);
  }
}

}  // namespace

ForkGuard::ForkGuard(int fd) noexcept {
  static const int registered = ::pthread_atfork(nullptr, nullptr, close_in_child);
  static_cast<void>(registered);
  auto& places = guarded();
  for (int i = 0; i < static_cast<int>(places.size()); ++i) {
    int expected = kFree;
    if (places[static_cast<std::size_t>(i)].compare_exchange_strong(expected, fd)) {
      place_ = i;
      return;
    }
  }
}

ForkGuard::ForkGuard(ForkGuard&& other) noexcept : place_(std::exchange(other.place_, -1)) {}

ForkGuard& ForkGuard::operator=(ForkGuard&& other) noexcept {
  if (this != &other) {
    release();
    place_ = std::exchange(other.place_, -1);
  }
  return *this;
}

ForkGuard::~ForkGuard() { release(); }

void ForkGuard::release() noexcept {
  if (place_ >= 0) guarded()[static_cast<std::size_t>(place_)] = kFree;
  place_ = -1;
}

}  // namespace stillframe::client
