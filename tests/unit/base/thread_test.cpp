#include "base/thread.hpp"

#include <gtest/gtest.h>
#include <pthread.h>

#include <array>
#include <atomic>
#include <csignal>

#include "base/clock.hpp"

namespace stillframe::base {
namespace {

std::string name_seen_in(const std::string& given) {
  std::array<char, 16> name{};
  auto thread = Thread::start(given, [&] { pthread_getname_np(pthread_self(), name.data(), name.size()); });
  EXPECT_TRUE(thread.ok());
  thread->join();
  return name.data();
}

// A door that tests open by hand.
class Gate {
 public:
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void pass() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

TEST(Thread, BearsItsNameCutToWhatTheKernelKeeps) {
  EXPECT_EQ(name_seen_in("sf-copier"), "sf-copier");
  EXPECT_EQ(name_seen_in("a-name-much-too-long"), "a-name-much-too");
}

TEST(Thread, TakesNoSignalsAndLeavesTheStartersMaskAlone) {
  sigset_t before;
  sigset_t inside;
  sigset_t after;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  auto thread = Thread::start("masked", [&] { pthread_sigmask(SIG_SETMASK, nullptr, &inside); });
  ASSERT_TRUE(thread.ok());
  thread->join();
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGUSR1}) {
    EXPECT_EQ(sigismember(&inside, signal), 1) << signal;
    EXPECT_EQ(sigismember(&after, signal), sigismember(&before, signal)) << signal;
  }
}

TEST(Thread, IsJoinedWhenItGoesOrIsReplaced) {
  std::atomic<int> ended{0};
  {
    auto first = Thread::start("first", [&] { ++ended; });
    auto second = Thread::start("second", [&] { ++ended; });
    ASSERT_TRUE(first.ok() && second.ok());
    Thread held = std::move(first).value();
    EXPECT_TRUE(held.joinable());
    held = std::move(second).value();
    EXPECT_GE(ended, 1) << "the first was joined before its place was taken";
  }
  EXPECT_EQ(ended, 2);
  Thread none;
  none.join();
  EXPECT_FALSE(none.joinable());
}

TEST(Thread, ThereIsAlwaysACore) { EXPECT_GE(core_count(), 1U); }

TEST(WorkerPool, RunsEveryTaskOnceAndStopsAfterTheLast) {
  std::atomic<int> ran{0};
  auto pool = WorkerPool::start("work", 3, 4);
  ASSERT_TRUE(pool.ok());
  EXPECT_EQ((*pool)->threads(), 3U);
  for (int i = 0; i < 500; ++i) (*pool)->submit([&] { ++ran; });
  (*pool)->stop();
  EXPECT_EQ(ran, 500);
  (*pool)->stop();
}

TEST(WorkerPool, AFullQueueHoldsTheGiverBack) {
  constexpr int kQueue = 2;
  Gate gate;
  Gate first_runs;
  std::atomic<int> given{0};
  auto pool = WorkerPool::start("bound", 1, kQueue);
  ASSERT_TRUE(pool.ok());
  (*pool)->submit([&] {
    first_runs.open();
    gate.pass();
  });
  first_runs.pass();
  std::atomic<int> most_given_before_opening{-1};
  auto giver = Thread::start("giver", [&] {
    for (int i = 0; i < kQueue; ++i) {
      (*pool)->submit([] {});
      ++given;
    }
    most_given_before_opening = given.load();
    (*pool)->submit([] {});  // has no room before the gate opens
    ++given;
  });
  ASSERT_TRUE(giver.ok());
  while (most_given_before_opening < 0) std::this_thread::yield();
  for (int i = 0; i < 10'000; ++i) {
    std::this_thread::yield();
    ASSERT_EQ(given, kQueue) << "the queue takes more than its bound";
  }
  gate.open();
  giver->join();
  EXPECT_EQ(given, kQueue + 1);
}

TEST(WorkerPool, ZeroThreadsAndZeroRoomStillWork) {
  std::atomic<int> ran{0};
  auto pool = WorkerPool::start("least", 0, 0);
  ASSERT_TRUE(pool.ok());
  for (int i = 0; i < 20; ++i) (*pool)->submit([&] { ++ran; });
  (*pool)->stop();
  EXPECT_EQ(ran, 20);
}

TEST(WorkerPool, WhatATaskHoldsIsLetGoWhenItHasRun) {
  auto pool = WorkerPool::start("holds", 1, 4);
  ASSERT_TRUE(pool.ok());
  std::weak_ptr<int> watched;
  {
    auto held = std::make_shared<int>(1);
    watched = held;
    (*pool)->submit([held = std::move(held)] { EXPECT_EQ(*held, 1); });
  }
  (*pool)->stop();
  EXPECT_TRUE(watched.expired());
}

}  // namespace
}  // namespace stillframe::base
