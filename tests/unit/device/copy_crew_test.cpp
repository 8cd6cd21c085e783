// Copies by several threads: every byte arrives, what is said to have arrived has, and helpers come and go with their
// crew.
#include "device/copy_crew.hpp"

#include <gmock/gmock.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <thread>

#include "support/wait_until.hpp"

namespace stillframe::device {
namespace {

using testing::HasSubstr;

// Rows of bytes, each with as many in a place of its own to be copied to.
class Row {
 public:
  explicit Row(const std::vector<std::size_t>& sizes) {
    std::size_t total = 0;
    for (const std::size_t size : sizes) total += size;
    from_.resize(total + 1);  // an address to be had even of nothing
    to_.resize(total + 1);
    fill();
    std::size_t offset = 0;
    for (const std::size_t size : sizes) {
      copies_.push_back({std::span(to_).subspan(offset, size), from_.data() + offset});
      offset += size;
    }
  }
  [[nodiscard]] std::span<const HostCopy> copies() const { return copies_; }
  [[nodiscard]] bool has_arrived(std::size_t copy) const {
    const HostCopy& one = copies_[copy];
    return one.to.empty() || std::memcmp(one.to.data(), one.from, one.to.size()) == 0;
  }
  [[nodiscard]] bool all_arrived() const { return std::memcmp(from_.data(), to_.data(), from_.size() - 1) == 0; }

 private:
  // No byte is that of the memory copied to, and none is like the one a page before it.
  void fill() {
    constexpr std::size_t kPeriod = 4099;
    const std::size_t first = std::min(kPeriod, from_.size());
    for (std::size_t i = 0; i < first; ++i) from_[i] = static_cast<std::byte>(i % 251 + 1);
    for (std::size_t filled = first; filled < from_.size();) {
      const std::size_t more = std::min(filled, from_.size() - filled);
      std::memcpy(from_.data() + filled, from_.data(), more);
      filled += more;
    }
  }

  std::vector<std::byte> from_;
  std::vector<std::byte> to_;
  std::vector<HostCopy> copies_;
};

std::shared_ptr<CopyCrew> crew_of(std::size_t threads) {
  auto crew = CopyCrew::start(threads);
  EXPECT_TRUE(crew.ok()) << crew.status().message();
  return crew.ok() ? std::move(crew).value() : nullptr;
}

// Names of the threads of this process that begin like those of a crew.
std::vector<std::string> helper_names() {
  std::vector<std::string> names;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name;
    std::getline(std::ifstream(task.path() / "comm"), name);
    if (name.starts_with("sf-copy-")) names.push_back(name);
  }
  std::ranges::sort(names);
  return names;
}

// A thread is in the list for a moment more than it runs, and has its name a moment after it was started.
bool helpers_become(const std::vector<std::string>& names) {
  return test::wait_until([&] { return helper_names() == names; });
}

// Whatever the sizes are: nothing, one byte, about a part, about several parts, thousands of small ones, and all mixed.
std::vector<std::vector<std::size_t>> rows_of_sizes() {
  std::vector<std::vector<std::size_t>> rows{{}, {0}, {1}, {0, 0, 1, 0}, std::vector<std::size_t>(5000, 0)};
  for (const std::size_t about : {kCopyPartBytes, 2 * kCopyPartBytes, 9 * kCopyPartBytes}) {
    for (const std::size_t bytes : {about - 1, about, about + 1}) {
      rows.push_back({bytes});
      rows.push_back({3, bytes, 0, bytes, 1});
    }
  }
  rows.emplace_back(20'000, 4);
  rows.emplace_back(7000, 333);
  std::mt19937 dice(7);
  for (int i = 0; i < 20; ++i) {
    std::vector<std::size_t> sizes;
    for (int j = 0; j < 200; ++j) sizes.push_back(dice() % (std::size_t{1} << (dice() % 19)));
    rows.push_back(std::move(sizes));
  }
  return rows;
}

TEST(CopyParts, FollowEachOtherWithoutAHoleAndNoneIsLargerThanAPart) {
  for (const std::vector<std::size_t>& sizes : rows_of_sizes()) {
    const Row row(sizes);
    for (CopyPlace from; from.copy < sizes.size();) {
      const CopyPlace to = end_of_part(row.copies(), from);
      std::size_t bytes = 0;
      for (std::size_t copy = from.copy; copy <= to.copy && copy < sizes.size(); ++copy) {
        bytes += (copy == to.copy ? to.offset : sizes[copy]) - (copy == from.copy ? from.offset : 0);
      }
      ASSERT_LE(bytes, kCopyPartBytes);
      ASSERT_TRUE(to.copy > from.copy || (to.copy == from.copy && to.offset > from.offset));
      ASSERT_TRUE(to.copy == sizes.size() || to.offset <= sizes[to.copy]);
      from = to;
    }
  }
}

TEST(CopyParts, ALargeCopyIsSplitAtThePagesOfItsTarget) {
  const Row row({17, 5 * kCopyPartBytes});
  for (CopyPlace at = end_of_part(row.copies(), {}); at.copy == 1; at = end_of_part(row.copies(), at)) {
    const auto address = reinterpret_cast<std::uintptr_t>(row.copies()[1].to.data() + at.offset);
    EXPECT_TRUE(address % 4096 == 0 || at.offset == 0);
  }
}

TEST(CopyParts, ManySmallCopiesAreOnePartAndThousandsAreSeveral) {
  const Row few(std::vector<std::size_t>(100, 4));
  EXPECT_EQ(end_of_part(few.copies(), {}), (CopyPlace{100, 0}));
  const Row many(std::vector<std::size_t>(20'000, 4));
  EXPECT_EQ(end_of_part(many.copies(), {}), (CopyPlace{kCopyPartBytes / kLeastCostOfACopyBytes, 0}));
}

class CopyCrewOf : public testing::TestWithParam<std::size_t> {};
INSTANTIATE_TEST_SUITE_P(Threads, CopyCrewOf, testing::Values(1, 2, 3, kMostCopyThreads));

TEST_P(CopyCrewOf, EveryByteArrivesWhateverTheSizes) {
  const auto crew = crew_of(GetParam());
  for (const std::vector<std::size_t>& sizes : rows_of_sizes()) {
    const Row row(sizes);
    crew->copy(row.copies());
    ASSERT_TRUE(row.all_arrived()) << sizes.size() << " copies, the first of " << (sizes.empty() ? 0 : sizes[0]);
  }
}

TEST_P(CopyCrewOf, WhatIsSaidToHaveArrivedHasAndAllOfItIsSaid) {
  const auto crew = crew_of(GetParam());
  for (const std::vector<std::size_t>& sizes : rows_of_sizes()) {
    const Row row(sizes);
    std::size_t told = 0;
    bool held = true;
    crew->copy(row.copies(), [&](std::size_t copies) {
      held = held && copies > told;
      for (; told < copies; ++told) held = held && row.has_arrived(told);
    });
    ASSERT_TRUE(held) << "before it had";
    ASSERT_EQ(told, sizes.size());
  }
}

TEST_P(CopyCrewOf, SeveralThreadsMayAskAtOnce) {
  const auto crew = crew_of(GetParam());
  std::atomic<int> whole = 0;
  {
    std::vector<base::Thread> threads;
    for (int i = 0; i < 4; ++i) {
      auto thread = base::Thread::start("asker", [&] {
        for (int round = 0; round < 20; ++round) {
          const Row row({1, 5 * kCopyPartBytes, 77});
          crew->copy(row.copies());
          whole += row.all_arrived() ? 1 : 0;
        }
      });
      ASSERT_TRUE(thread.ok());
      threads.push_back(std::move(thread).value());
    }
  }
  EXPECT_EQ(whole, 4 * 20);
}

TEST(CopyCrew, HelpersTakePartInALargeCopy) {
  const auto crew = crew_of(2);
  std::atomic<bool> is_helped = false;
  const auto caller = std::this_thread::get_id();
  const Row row({4 * kCopyPartBytes, 4 * kCopyPartBytes});
  const auto deadline = base::Deadline::after_ms(60'000);
  while (!is_helped && !deadline.expired()) {
    crew->copy(row.copies(), [&](std::size_t) { is_helped = is_helped || std::this_thread::get_id() != caller; });
  }
  EXPECT_TRUE(is_helped);
  EXPECT_TRUE(row.all_arrived());
}

TEST(CopyCrew, ItsHelpersAreNamedAndGoWithIt) {
  {
    const auto crew = crew_of(3);
    const Row row({9 * kCopyPartBytes});
    crew->copy(row.copies());
    EXPECT_EQ(crew->threads(), 3U);
    EXPECT_TRUE(helpers_become({"sf-copy-2", "sf-copy-3"}));
  }
  EXPECT_TRUE(helpers_become({}));
}

TEST(CopyCrew, WithoutHelpersNothingIsStarted) {
  const auto crew = CopyCrew::of_the_caller();
  EXPECT_EQ(crew->threads(), 1U);
  EXPECT_TRUE(helper_names().empty());
}

TEST(CopyCrew, NoThreadOrTooManyAreRefused) {
  for (const std::size_t threads : {std::size_t{0}, kMostCopyThreads + 1}) {
    const auto refused = CopyCrew::start(threads).status();
    EXPECT_EQ(refused.code(), Code::invalid_argument);
    EXPECT_THAT(refused.message(), HasSubstr("1 to 16, not " + std::to_string(threads)));
  }
}

std::size_t mapped_bytes() {
  std::size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

// 0: the system refused a thread, the reason said which and what to do, and those that were there are gone.
int check_where_threads_are_refused() {
  const std::size_t few_stacks = mapped_bytes() + (std::size_t{40} << 20U);
  const rlimit limit{few_stacks, few_stacks};
  if (::setrlimit(RLIMIT_AS, &limit) != 0) return 1;
  const Status refused = CopyCrew::start(kMostCopyThreads).status();
  if (refused.code() != Code::no_space) return 2;
  for (const char* word : {"copy_threads", "of 16", "ulimit"}) {
    if (refused.message().find(word) == std::string::npos) return 3;
  }
  return helpers_become({}) ? 0 : 4;
}

TEST(CopyCrew, AThreadThatTheSystemRefusesIsAnErrorThatSaysSoAndLeavesNone) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer's own memory is beyond the limit";
#endif
  EXPECT_EXIT(::_exit(check_where_threads_are_refused()), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace stillframe::device
