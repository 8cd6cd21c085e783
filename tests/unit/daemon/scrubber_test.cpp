// The background scrub: what it reads, in which order, when it stands still, and when it ends.
#include "daemon/scrubber.hpp"

#include <gmock/gmock.h>

#include <atomic>
#include <mutex>

#include "support/observed_env.hpp"
#include "support/store_fixture.hpp"
#include "support/wait_until.hpp"

namespace stillframe::test {
namespace {

using daemon::Scrubber;
using daemon::ScrubOptions;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::uint64_t kSlow = 16 * 1024;  // bytes per second: a checkpoint takes minutes

class Scrubbing : public testing::Test {
 protected:
  Scrubbing() {
    options_.first_look_ms = 0;
    options_.look_again_ms = 1;
    env_.observe([this](EnvOp op, const std::string& path) {
      const std::lock_guard lock(mutex_);
      if (op == EnvOp::rename && path.find("/verified") != std::string::npos) marked_.push_back(path);
    });
  }
  std::string publish_one(std::int64_t step, bool confirmed = true) {
    format::Manifest draft = draft_of("main", step);
    draft.confirmed = confirmed;
    return publish_draft(store_, std::move(draft)).value().name;
  }
  std::string publish_verified(std::int64_t step, const std::string& text) {
    const std::string name = publish_one(step);
    EXPECT_TRUE(store_.set_mark(name, format::kVerifiedMark, text).ok());
    const std::lock_guard lock(mutex_);
    marked_.clear();
    return name;
  }
  void start() { scrubber_ = Scrubber::start(store_, options_).value(); }
  bool has_checked(std::uint64_t count) {
    return wait_until([&] { return scrubber_->counters().checked == count; });
  }
  // It has looked for work so often without finding any.
  bool looks_around() {
    const std::uint64_t from = mem_.calls(EnvOp::list);
    return wait_until([&] { return mem_.calls(EnvOp::list) >= from + 5; });
  }
  store::Marks marks(const std::string& name) { return store_.marks(name).value(); }
  std::vector<std::string> marked() {
    const std::lock_guard lock(mutex_);
    return marked_;
  }
  std::string verified_text(const std::string& name) {
    return content_of(env_, file_of(store_, name, format::kVerifiedMark)).value();
  }

  FaultEnv mem_;
  ObservedEnv env_{mem_};
  store::Store store_ = store::Store::open_or_create(env_, "/runs/gpt").value();
  ScrubOptions options_;
  std::mutex mutex_;
  std::vector<std::string> marked_;
  std::atomic<bool> writing_{false};
  std::shared_ptr<Scrubber> scrubber_;
};

TEST_F(Scrubbing, OneThatNeedsMoreMemoryThanThereIsIsPassedOverUnmarked) {
  const std::string first = publish_one(1);
  const std::string greedy = publish_one(2);
  env_.observe_opens([greedy](const std::string& path) {
    if (path.find(greedy + "/manifest") != std::string::npos) throw std::bad_alloc();
  });
  options_.every_seconds = 0;
  start();
  ASSERT_TRUE(has_checked(1));
  EXPECT_TRUE(marks(first).verified);
  EXPECT_FALSE(marks(greedy).verified || marks(greedy).bad);
}

TEST_F(Scrubbing, WhatNobodyVerifiedIsReadAndMarkedNewestFirst) {
  const std::string first = publish_one(1);
  const std::string second = publish_one(2);
  options_.every_seconds = 0;
  start();
  ASSERT_TRUE(has_checked(2));
  EXPECT_TRUE(marks(first).verified);
  EXPECT_TRUE(marks(second).verified);
  EXPECT_THAT(marked(), ElementsAre(HasSubstr(second), HasSubstr(first)));
  EXPECT_EQ(scrubber_->counters().bad, 0U);
  EXPECT_EQ(scrubber_->counters().last, first + ": verified");
  ASSERT_TRUE(looks_around());
  EXPECT_EQ(scrubber_->counters().checked, 2U) << "and then there is nothing to do";
}

TEST_F(Scrubbing, WhatItsTrainerNeverConfirmedIsReadOnceAndNeverMarkedVerified) {
  const std::string name = publish_one(1, /*confirmed=*/false);
  start();
  ASSERT_TRUE(has_checked(1));
  ASSERT_TRUE(looks_around());
  EXPECT_EQ(scrubber_->counters().checked, 1U);
  EXPECT_FALSE(marks(name).verified);
  EXPECT_FALSE(marks(name).bad);
}

TEST_F(Scrubbing, ADamagedOneIsMarkedBadAndTheNextOneIsReadAllTheSame) {
  const std::string good = publish_one(1);
  const std::string rotten = publish_one(2);
  SF_ASSERT_OK(flip_bit(env_, file_of(store_, rotten, format::data_file(0)), 4242));
  start();
  ASSERT_TRUE(has_checked(2));
  EXPECT_TRUE(marks(rotten).bad);
  EXPECT_FALSE(marks(rotten).verified);
  EXPECT_TRUE(marks(good).verified);
  EXPECT_EQ(scrubber_->counters().bad, 1U);
}

TEST_F(Scrubbing, WhatTheVerifierHasInHandIsLeftToIt) {
  const std::string name = publish_one(1);
  std::atomic<bool> held{true};
  options_.first_look_ms = 100;
  start();
  scrubber_->add_writer(this, {[] { return false; }, [&](const std::string& asked) { return held && asked == name; }});
  ASSERT_TRUE(looks_around());
  EXPECT_EQ(scrubber_->counters().checked, 0U);
  EXPECT_FALSE(marks(name).verified);
  held = false;
  EXPECT_TRUE(has_checked(1));
  scrubber_->remove_writer(this);
}

TEST_F(Scrubbing, ItStandsStillWhileACheckpointIsBeingWritten) {
  const std::string name = publish_one(1);
  std::atomic<int> asked{0};
  writing_ = true;
  options_.first_look_ms = 100;
  start();
  scrubber_->add_writer(this, {[&] { return ++asked, writing_.load(); }, [](const std::string&) { return false; }});
  ASSERT_TRUE(wait_until([&] { return asked >= 5; }));
  EXPECT_EQ(scrubber_->counters().checked, 0U);
  EXPECT_EQ(scrubber_->counters().reading, "");
  writing_ = false;
  EXPECT_TRUE(has_checked(1));
  EXPECT_TRUE(marks(name).verified);
  scrubber_->remove_writer(this);
}

TEST_F(Scrubbing, AWriterThatBeginsWhileItReadsStopsItInTheMiddle) {
  publish_one(1);
  std::atomic<int> asked_while_writing{0};
  options_.bytes_per_second = 1 << 20;  // some seconds, were it not for the writer
  start();
  scrubber_->add_writer(this, {[&] {
                                 if (writing_) ++asked_while_writing;
                                 return writing_.load();
                               },
                               [](const std::string&) { return false; }});
  ASSERT_TRUE(wait_until([&] { return !scrubber_->counters().reading.empty(); }));
  writing_ = true;
  ASSERT_TRUE(wait_until([&] { return asked_while_writing >= 5; }));
  EXPECT_EQ(scrubber_->counters().checked, 0U);
  writing_ = false;
  EXPECT_TRUE(has_checked(1));
  scrubber_->remove_writer(this);
}

TEST_F(Scrubbing, AVerifiedOneIsReadAgainWhenThatIsLongAgoAndTheMarkSaysWhen) {
  const std::string old = publish_verified(1, "re-read and checked 2020-01-01T00:00:00Z\n");
  const std::string now = base::utc_iso(base::system_clock().unix_ns());
  const std::string fresh = publish_verified(2, "re-read and checked " + now + "\n");
  const std::string unreadable = publish_verified(3, "checked yesterday, says somebody\n");
  const std::string future = publish_verified(4, "re-read and checked 9999-12-31T23:59:59Z\n");
  start();
  ASSERT_TRUE(has_checked(3));
  ASSERT_TRUE(looks_around());
  EXPECT_EQ(scrubber_->counters().checked, 3U) << "each once";
  for (const std::string& name : {old, unreadable, future}) {
    EXPECT_TRUE(marks(name).verified);
    const auto time = daemon::time_in_mark(verified_text(name));
    ASSERT_TRUE(time) << verified_text(name);
    EXPECT_NEAR(static_cast<double>(*time), static_cast<double>(base::system_clock().unix_ns()) * 1e-9, 300);
  }
  EXPECT_THAT(verified_text(fresh), HasSubstr(now)) << "left as it was";
}

TEST_F(Scrubbing, AVerifiedOneThatRotsIsFoundBad) {
  const std::string name = publish_verified(1, "re-read and checked 2020-01-01T00:00:00Z\n");
  SF_ASSERT_OK(flip_bit(env_, file_of(store_, name, format::data_file(0)), 100));
  start();
  ASSERT_TRUE(has_checked(1));
  EXPECT_TRUE(marks(name).bad);
  EXPECT_FALSE(marks(name).verified);
  EXPECT_EQ(scrubber_->counters().bad, 1U);
  EXPECT_THAT(scrubber_->counters().last, HasSubstr("bad: "));
}

TEST_F(Scrubbing, DamageThatAFullDiskKeptFromBeingMarkedIsMarkedWhenThereIsRoom) {
  const std::string name = publish_verified(1, "re-read long ago\n");
  SF_ASSERT_OK(flip_bit(env_, file_of(store_, name, format::data_file(0)), 1000));
  mem_.fail({EnvOp::create, Code::no_space, 1, true, "/bad"});
  start();
  ASSERT_TRUE(has_checked(1));
  EXPECT_EQ(scrubber_->counters().bad, 1U);
  EXPECT_FALSE(marks(name).verified || marks(name).bad);
  ASSERT_TRUE(looks_around());
  mem_.fail_nothing();
  EXPECT_TRUE(wait_until([&] { return marks(name).bad; }));
  EXPECT_EQ(scrubber_->counters().checked, 1U) << "it was not read a second time";
}

TEST_F(Scrubbing, NeverAgainMeansNeverAgain) {
  publish_verified(1, "re-read and checked 2020-01-01T00:00:00Z\n");
  options_.every_seconds = 0;
  start();
  ASSERT_TRUE(looks_around());
  EXPECT_EQ(scrubber_->counters().checked, 0U);
}

TEST_F(Scrubbing, UnverifiedOnesComeBeforeOldVerifiedOnes) {
  const std::string old = publish_verified(2, "re-read and checked 2020-01-01T00:00:00Z\n");
  const std::string unverified = publish_one(1);
  start();
  ASSERT_TRUE(has_checked(2));
  EXPECT_THAT(marked(), ElementsAre(HasSubstr(unverified), HasSubstr(old)));
}

TEST_F(Scrubbing, AStopInTheMiddleOfAReadEndsItAtOnceAndMarksNothing) {
  const std::string name = publish_one(1);
  options_.bytes_per_second = kSlow;
  start();
  ASSERT_TRUE(wait_until([&] { return scrubber_->counters().reading == name; }));
  const auto deadline = base::Deadline::after_ms(10'000);
  scrubber_.reset();
  EXPECT_FALSE(deadline.expired()) << "the rest would take minutes";
  EXPECT_FALSE(marks(name).verified);
  EXPECT_FALSE(marks(name).bad);
}

TEST_F(Scrubbing, WhatIsNeededForRoomIsLetGoAndReadLater) {
  const std::string name = publish_one(1);
  options_.bytes_per_second = kSlow;
  start();
  scrubber_->add_writer(this, {[&] { return writing_.load(); }, [](const std::string&) { return false; }});
  ASSERT_TRUE(wait_until([&] { return scrubber_->counters().reading == name; }));
  writing_ = true;
  EXPECT_EQ(store_.remove(name).status().code(), Code::busy) << "held while it is read";
  scrubber_->let_go();
  EXPECT_EQ(scrubber_->counters().reading, "");
  writing_ = false;
  ASSERT_TRUE(wait_until([&] { return scrubber_->counters().reading == name; })) << "again";
  writing_ = true;
  scrubber_->let_go();
  SF_ASSERT_OK(store_.remove(name));
  scrubber_->remove_writer(this);
}

TEST_F(Scrubbing, ADiskThatCannotBeReadProvesNoDamage) {
  const std::string name = publish_one(1);
  mem_.fail({EnvOp::read_at, Code::io_error, 1, true, std::string(format::data_file(0))});
  start();
  ASSERT_TRUE(wait_until([&] { return scrubber_->counters().last.find("could not be read") != std::string::npos; }));
  EXPECT_FALSE(marks(name).bad);
  EXPECT_FALSE(marks(name).verified);
  EXPECT_EQ(scrubber_->counters().checked, 0U);
}

TEST(TimeInMark, IsFoundWhereverItStandsAndNothingElseIsTakenForOne) {
  EXPECT_EQ(daemon::time_in_mark("re-read and checked 1970-01-02T00:00:01Z\n"), 86'401);
  EXPECT_EQ(daemon::time_in_mark("2026-11-22T12:30:05Z"), kUtcNs / 1'000'000'000);
  EXPECT_EQ(daemon::time_in_mark("2024-02-29T00:00:00Z"), 1'709'164'800);
  for (const char* text : {"", "verified", "2026-11-22T12:30:05", "2026-13-22T12:30:05Z", "2026-02-30T12:30:05Z",
                           "2026-11-22T24:30:05Z", "2026-11-22T12:61:05Z", "20x6-11-22T12:30:05Z", "2026-11-22 12:30:05Z"}) {
    EXPECT_EQ(daemon::time_in_mark(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace stillframe::test
