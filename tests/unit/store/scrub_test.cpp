// Scrub: what was re-read and is right becomes verified, what is wrong becomes bad, and nothing else is marked.
#include "store/scrub.hpp"

#include <gmock/gmock.h>

#include <map>

#include "format/json.hpp"
#include "store/checkpoint_files.hpp"
#include "store/pace.hpp"
#include "support/observed_env.hpp"
#include "support/store_fixture.hpp"

namespace stillframe::test {
namespace {

using store::Pace;
using store::scrub_checkpoint;
using store::ScrubOutcome;
using store::Store;
using testing::HasSubstr;

class Scrubbing : public StoreTest {
 protected:
  void SetUp() override {
    store_ = std::make_unique<Store>(make_store());
    name_ = add(true);
  }
  format::Manifest confirmed_draft() {
    format::Manifest draft = draft_of("main", ++step_);
    draft.confirmed = true;
    return draft;
  }
  std::string add(bool confirmed) {
    format::Manifest draft = draft_of("main", ++step_);
    draft.confirmed = confirmed;
    return publish_draft(*store_, draft)->name;
  }
  store::ScrubReport scrub(const std::string& name, bool recheck = false) {
    const auto report = scrub_checkpoint(*store_, name, {}, recheck);
    EXPECT_TRUE(report.ok()) << report.status().message();
    return report.ok() ? *report : store::ScrubReport{};
  }
  void damage(const std::string& name) {
    SF_ASSERT_OK(flip_bit(env(), file_of(*store_, name, format::data_file(0)), 1000));
  }
  std::string mark(const std::string& name, std::string_view mark) {
    return content_of(env(), file_of(*store_, name, mark)).value();
  }

  std::unique_ptr<Store> store_;
  std::string name_;
  std::int64_t step_ = 0;
};
INSTANTIATE_TEST_SUITE_P(On, Scrubbing, testing::Values(EnvKind::posix, EnvKind::mem), env_kind_name);

TEST_P(Scrubbing, AWholeConfirmedCheckpointIsMarkedVerifiedAndReadOnce) {
  const auto first = scrub(name_);
  EXPECT_EQ(first.outcome, ScrubOutcome::verified);
  EXPECT_TRUE(first.marked);
  EXPECT_GT(first.bytes_read, three_chunk_layout().bytes / 4);
  EXPECT_TRUE(store_->marks(name_)->verified);
  EXPECT_THAT(mark(name_, format::kVerifiedMark), HasSubstr("scrub"));
  const auto second = scrub(name_);
  EXPECT_EQ(second.outcome, ScrubOutcome::already_verified);
  EXPECT_FALSE(second.marked);
  EXPECT_EQ(second.bytes_read, 0U);
  EXPECT_EQ(scrub(name_, true).outcome, ScrubOutcome::verified);
}

TEST_P(Scrubbing, WithoutTheFencesWordNothingIsMarkedVerified) {
  const std::string unconfirmed = add(false);
  for (int i = 0; i < 2; ++i) {
    const auto report = scrub(unconfirmed);
    EXPECT_EQ(report.outcome, ScrubOutcome::intact_unconfirmed);
    EXPECT_FALSE(report.marked);
    EXPECT_FALSE(store_->marks(unconfirmed)->verified);
  }
}

TEST_P(Scrubbing, ADamagedOneIsMarkedBadWithTheFirstFinding) {
  damage(name_);
  const auto report = scrub(name_);
  EXPECT_EQ(report.outcome, ScrubOutcome::bad);
  EXPECT_TRUE(report.marked);
  const auto marks = store_->marks(name_);
  EXPECT_TRUE(marks->bad && !marks->verified);
  EXPECT_THAT(mark(name_, format::kBadMark), HasSubstr("rank-00000.data, chunk 0 (layer.weight)"));
  const auto again = scrub(name_);
  EXPECT_EQ(again.outcome, ScrubOutcome::bad);
  EXPECT_FALSE(again.marked);
  EXPECT_EQ(again.bytes_read, 0U);
  EXPECT_THAT(again.reason, HasSubstr("layer.weight"));
}

TEST_P(Scrubbing, NamesOfAnyLengthLeaveAMarkThatCanBeRead) {
  std::string long_name = std::string(199, 'n');
  while (long_name.size() + 2 <= kMaxEntryNameBytes) long_name += "ä";
  std::vector<Entry> entries;
  for (const char* const first : {"a", "b", "c", "d", "e"}) {
    entries.push_back({first + long_name.substr(1), DType::u8, {50'000}});
  }
  const auto layout = format::lay_out(std::move(entries));
  SF_ASSERT_OK(layout);
  const auto published = publish_draft(*store_, draft_of("main", ++step_), codec::CodecId::planes_lz4, *layout);
  SF_ASSERT_OK(published);
  const std::string name = published->name;
  damage(name);
  EXPECT_EQ(scrub(name).outcome, ScrubOutcome::bad);
  const auto text = store::mark_text(*store_, name, format::kBadMark);
  SF_ASSERT_OK(text);
  EXPECT_THAT(*text, HasSubstr("rank-00000.data, chunk 0 (a" + std::string(198, 'n') + "…, b"));
  EXPECT_THAT(*text, HasSubstr("…, d" + std::string(198, 'n') + "… and 1 more): "));
  EXPECT_TRUE(format::is_utf8(*text));
  EXPECT_LT(text->size(), 5000U);
}

TEST_P(Scrubbing, AnUnreadableManifestIsMarkedBad) {
  SF_ASSERT_OK(flip_bit(env(), file_of(*store_, name_, format::kManifestFile), 50));
  EXPECT_EQ(scrub(name_).outcome, ScrubOutcome::bad);
  EXPECT_TRUE(store_->marks(name_)->bad);
}

// What the page cache holds says nothing about the device: it goes before the first byte is read.
TEST_P(Scrubbing, NoFileIsReadBeforeItsCacheIsDropped) {
  const std::string plain = publish_draft(*store_, confirmed_draft(), codec::CodecId::raw)->name;
  ObservedEnv observed(env());
  std::map<std::string, std::vector<ObservedEnv::Use>> uses;
  observed.observe_uses([&](ObservedEnv::Use use, const std::string& path) { uses[path].push_back(use); });
  const Store seen = Store::open(observed, store_path()).value();
  for (const std::string& name : {name_, plain}) {
    uses.clear();
    EXPECT_EQ(scrub_checkpoint(seen, name, {})->outcome, ScrubOutcome::verified);
    EXPECT_EQ(uses.size(), 3U) << "manifest, table, data";
    for (const auto& [path, of_file] : uses) EXPECT_EQ(of_file.front(), ObservedEnv::Use::drop_cache) << path;
  }
}

TEST_P(Scrubbing, OneThatRottedAfterItWasVerifiedIsFoundOnlyWhenAskedForAndThenBadOnly) {
  ASSERT_EQ(scrub(name_).outcome, ScrubOutcome::verified);
  damage(name_);
  EXPECT_EQ(scrub(name_).outcome, ScrubOutcome::already_verified);
  EXPECT_EQ(scrub(name_, true).outcome, ScrubOutcome::bad);
  const auto marks = store_->marks(name_);
  EXPECT_TRUE(marks->bad && !marks->verified);
}

TEST_P(Scrubbing, OneMarkedBadStaysBadThoughItsBytesAreWhole) {
  SF_ASSERT_OK(store_->set_mark(name_, format::kBadMark, "torn: a tensor changed while it was copied\n"));
  const auto report = scrub(name_, true);
  EXPECT_EQ(report.outcome, ScrubOutcome::bad);
  EXPECT_EQ(report.bytes_read, 0U);
  EXPECT_THAT(report.reason, HasSubstr("torn"));
  EXPECT_TRUE(store_->marks(name_)->bad);
}

TEST_P(Scrubbing, ARemovedOneIsNoFault) {
  SF_ASSERT_OK(store_->remove(name_));
  EXPECT_EQ(scrub(name_).outcome, ScrubOutcome::gone);
}

TEST_P(Scrubbing, ItCannotBeRemovedWhileItIsScrubbed) {
  int asked = 0;
  const Pace pace{0, [&] {
                    if (asked++ == 0) {
                      EXPECT_EQ(store_->remove(name_).status().code(), Code::busy);
                    }
                    return true;
                  }};
  EXPECT_EQ(scrub_checkpoint(*store_, name_, pace)->outcome, ScrubOutcome::verified);
  EXPECT_GT(asked, 0);
}

TEST_P(Scrubbing, EndedEarlyItMarksNothing) {
  damage(name_);
  const auto report = scrub_checkpoint(*store_, name_, {0, [] { return false; }});
  SF_ASSERT_OK(report);
  EXPECT_EQ(report->outcome, ScrubOutcome::ended);
  const auto marks = store_->marks(name_);
  EXPECT_FALSE(marks->bad || marks->verified);
}

TEST_P(Scrubbing, ALongWaitEndsWhenItIsToldTo) {
  // At a byte per second the first megabyte would take days.
  int asked = 0;
  const auto report = scrub_checkpoint(*store_, name_, {1, [&] { return ++asked < 5; }});
  SF_ASSERT_OK(report);
  EXPECT_EQ(report->outcome, ScrubOutcome::ended);
}

// Faults that only the fake has.
class ScrubFaults : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = Store::open_or_create(env_, "/s");
    SF_ASSERT_OK(opened);
    store_ = std::make_unique<Store>(*std::move(opened));
    format::Manifest draft = draft_of("main", 1);
    draft.confirmed = true;
    name_ = publish_draft(*store_, draft)->name;
  }
  FaultEnv env_;
  std::unique_ptr<Store> store_;
  std::string name_;
};

TEST_F(ScrubFaults, AnErrorOfTheDiskIsNoDamageAndMarksNothing) {
  for (const EnvOp op : {EnvOp::open, EnvOp::read_at}) {
    for (const std::string file : {".data", ".table", "manifest"}) {
      env_.fail({op, Code::io_error, 1, true, file});
      const auto report = scrub_checkpoint(*store_, name_, {});
      EXPECT_EQ(report.status().code(), Code::io_error) << env_op_name(op) << " " << file;
      env_.fail_nothing();
      const auto marks = store_->marks(name_);
      EXPECT_FALSE(marks->bad || marks->verified) << env_op_name(op) << " " << file;
    }
  }
}

TEST_F(ScrubFaults, DamageThatCannotBeMarkedIsReportedAndTheVerifiedMarkGoes) {
  SF_ASSERT_OK(store_->set_mark(name_, format::kVerifiedMark, "re-read\n"));
  SF_ASSERT_OK(flip_bit(env_, file_of(*store_, name_, format::data_file(0)), 1000));
  env_.fail({EnvOp::create, Code::no_space, 1, true, "bad"});
  const auto report = scrub_checkpoint(*store_, name_, {}, true);
  SF_ASSERT_OK(report);
  EXPECT_EQ(report->outcome, ScrubOutcome::bad);
  EXPECT_FALSE(report->marked);
  EXPECT_EQ(report->mark_error.code(), Code::no_space);
  EXPECT_THAT(report->reason, HasSubstr("chunk"));
  const auto marks = store_->marks(name_);
  EXPECT_FALSE(marks->verified) << "retention would count on it";
  EXPECT_FALSE(marks->bad);
}

TEST_F(ScrubFaults, OneConfirmedAfterItsCommitStaysVerifiedWhenReadAgain) {
  format::Manifest draft = draft_of("main", 2);
  draft.confirmed = false;
  const std::string name = publish_draft(*store_, draft)->name;
  SF_ASSERT_OK(store_->set_mark(name, format::kVerifiedMark, "re-read\n"));
  const auto report = scrub_checkpoint(*store_, name, {}, true);
  SF_ASSERT_OK(report);
  EXPECT_EQ(report->outcome, ScrubOutcome::verified);
}

// The page cache holds what was written, the disk does not: only what comes from the disk may be called verified.
TEST_F(ScrubFaults, WhatADiskLiedAboutIsFoundAndNeverCalledVerified) {
  for (const std::string file : {".data", ".safetensors", ".table", "manifest"}) {
    env_.fail({.op = EnvOp::sync, .code = Code::ok, .for_ever = true, .path_contains = file});
    format::Manifest draft = draft_of("main", 2);
    draft.confirmed = true;
    const auto kind = file == ".safetensors" ? codec::CodecId::raw : codec::CodecId::planes_lz4;
    const auto published = publish_draft(*store_, draft, kind);
    SF_ASSERT_OK(published);
    env_.fail_nothing();
    SF_ASSERT_OK(check_whole(*store_, published->name, 2));
    const auto report = scrub_checkpoint(*store_, published->name, {});
    SF_ASSERT_OK(report);
    EXPECT_EQ(report->outcome, ScrubOutcome::bad) << file;
    const auto marks = store_->marks(published->name);
    EXPECT_TRUE(marks->bad && !marks->verified) << file;
  }
}

// Power fails, or the process dies, at each change of turning a verified one into a bad one: what survives is never
// called verified alone.
TEST_F(ScrubFaults, CutOffAnywhereARottenOneIsNeverLeftVerifiedAfterTheBadMark) {
  ASSERT_EQ(scrub_checkpoint(*store_, name_, {})->outcome, ScrubOutcome::verified);
  SF_ASSERT_OK(flip_bit(env_, file_of(*store_, name_, format::data_file(0)), 1000));
  bool reached_bad = false;
  for (std::uint64_t n = 1;; ++n) {
    const auto disk = env_.copy();
    disk->die_at(n);
    const auto cut = scrub_checkpoint(Store::open(*disk, "/s").value(), name_, {}, true);
    if (cut.ok() && cut->mark_error.ok()) break;
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      const auto world = disk->survivor(seed);
      const Store after = Store::open(*world, "/s").value();
      const auto marks = after.marks(name_);
      SF_ASSERT_OK(marks);
      EXPECT_TRUE(marks->bad || marks->verified) << "the old mark went before the new one was there, change " << n;
      reached_bad = reached_bad || marks->bad;
      SF_ASSERT_OK(store::recover(after, {}));
      const auto again = scrub_checkpoint(after, name_, {}, true);
      SF_ASSERT_OK(again);
      EXPECT_EQ(again->outcome, ScrubOutcome::bad);
      EXPECT_FALSE(after.marks(name_)->verified);
    }
  }
  EXPECT_TRUE(reached_bad);
}

TEST(PacerTest, ReadingIsHeldToTheRate) {
  constexpr std::uint64_t kRate = 1'000'000;
  const Pace pace{kRate, {}};
  store::Pacer pacer(pace);
  const std::int64_t from_ns = base::system_clock().monotonic_ns();
  std::uint64_t paid = 0;
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(pacer.pay(5000));
    paid += 5000;
    const auto took_ns = static_cast<double>(base::system_clock().monotonic_ns() - from_ns);
    EXPECT_LE(static_cast<double>(paid), kRate * took_ns / 1e9 + 1) << "faster than the rate";
  }
}

TEST(PacerTest, WithoutARateOnlyTheWishToGoOnCounts) {
  bool go = true;
  const Pace pace{0, [&] { return go; }};
  store::Pacer pacer(pace);
  EXPECT_TRUE(pacer.pay(std::uint64_t{1} << 60));
  go = false;
  EXPECT_FALSE(pacer.pay(0));
}

}  // namespace
}  // namespace stillframe::test
