// A checkpoint that a later release wrote: said clearly, passed over, and left as it is by everything.
#include <gmock/gmock.h>

#include "restore/chooser.hpp"
#include "store/catalog.hpp"
#include "store/scrub.hpp"
#include "support/store_fixture.hpp"
#include "unit/format/manifest_texts.hpp"

namespace stillframe::test {
namespace {

using store::Store;
using testing::HasSubstr;

class FutureVersion : public testing::Test {
 protected:
  void SetUp() override {
    for (const std::int64_t step : {1, 2}) names_.push_back(publish(store_, "main", step)->name);
    std::string text = text_of_second();
    text.resize(text.size() - format::kSealLineBytes);
    replace(text, "\"version\": 1", "\"version\": 3");
    write_second(format::sealed(text));
  }

  std::string text_of_second() { return content_of(env_, manifest_of_second()).value(); }
  void write_second(const std::string& text) { SF_ASSERT_OK(overwrite(env_, manifest_of_second(), text)); }
  static void replace(std::string& text, const std::string& from, const std::string& to) {
    const std::size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
  }

  void expect_refused_and_untouched() {
    const Status refused = store::CheckpointReader::open(store_, names_[1]).status();
    EXPECT_EQ(refused.code(), Code::unsupported);
    EXPECT_THAT(refused.message(), HasSubstr("version 3"));
    EXPECT_EQ(store::verify(store_, names_[1], store::VerifyDepth::full, {}).status().code(), Code::unsupported);
    EXPECT_EQ(store::scrub_checkpoint(store_, names_[1], {}).status().code(), Code::unsupported);
    EXPECT_EQ(store::read_catalog(store_)->front().head.status().code(), Code::unsupported);
    SF_ASSERT_OK(store::recover(store_, {}));
    EXPECT_EQ(env_.list(env::join("/s", names_[1]))->size(), 3U) << "no mark, no file less";
  }

 private:
  std::string manifest_of_second() const { return file_of(store_, names_[1], format::kManifestFile); }

 protected:
  FaultEnv env_;
  Store store_ = Store::open_or_create(env_, "/s").value();
  std::vector<std::string> names_;
};

TEST_F(FutureVersion, IsRefusedWithTheVersionAndTheOlderOneIsRestored) {
  const Status refused = store::CheckpointReader::open(store_, names_[1]).status();
  EXPECT_EQ(refused.code(), Code::unsupported);
  EXPECT_THAT(refused.message(), HasSubstr("version 3"));
  for (const std::string selector : {"@latest", "@before-nan"}) {
    const auto chooser = restore::Chooser::open(env_, format::parse_address("/s" + selector).value());
    SF_ASSERT_OK(chooser);
    EXPECT_EQ(chooser->current().name(), names_[0]);
    ASSERT_EQ(chooser->skipped().size(), 1U);
    EXPECT_THAT(chooser->skipped()[0].reason, HasSubstr("version 3"));
  }
}

TEST_F(FutureVersion, IsNoDamageAndNothingOfItIsTouched) { expect_refused_and_untouched(); }

TEST_F(FutureVersion, MayNestDeeperThanThisOne) {
  std::string text = text_of_second();
  text.resize(text.size() - format::kSealLineBytes);
  replace(text, "\"tree\": ", "\"tree\": " + std::string(700, '[') + std::string(700, ']') + ", \"old\": ");
  write_second(format::sealed(text));
  expect_refused_and_untouched();
}

TEST_F(FutureVersion, MayHaveAnotherSealOrNone) {
  std::string text = text_of_second();
  text.resize(text.size() - format::kSealLineBytes);
  write_second(text + "\n \"seal\": {\"blake3\": \"" + std::string(64, '5') + "\"}\n}\n");
  expect_refused_and_untouched();
  write_second(text.substr(0, 200));
  expect_refused_and_untouched();
}

TEST_F(FutureVersion, MayHoldMoreThanThisOnesLimit) {
  const std::string text = text_of_second();
  write_second(text + std::string(kMaxManifestBytes, ' '));
  expect_refused_and_untouched();
}

// The seal tells a version that was changed from one that was written.
TEST_F(FutureVersion, ThatIsADamagedDigitUnderASealOfThisVersionIsDamage) {
  std::string text = content_of(env_, file_of(store_, names_[0], format::kManifestFile)).value();
  for (const std::string damaged : {"3", "5", "9", "10"}) {
    std::string changed = text;
    replace(changed, "\"version\": 1", "\"version\": " + damaged);
    write_second(changed);
    const auto report = store::verify(store_, names_[1], store::VerifyDepth::quick, {});
    SF_ASSERT_OK(report);
    EXPECT_TRUE(report->damaged) << damaged;
  }
}

// A file of another program, or one that only looks like a number, has no version to respect.
TEST_F(FutureVersion, IsReadOnlyWhereEveryManifestHasIt) {
  const std::string text = text_of_second();
  for (const auto& [from, to] : std::initializer_list<std::pair<std::string, std::string>>{
           {"\"format\": \"stillframe\"", "\"format\": \"other\""},
           {"\"version\": 3", "\"version\": 03"},
           {"\"version\": 3", "\"version\": 3.5"},
           {"\"version\": 3", "\"version\": -3"},
           {"\"version\": 3", "\"version\": \"3\""}}) {
    std::string changed = text;
    replace(changed, from, to);
    write_second(changed.substr(0, changed.size() - format::kSealLineBytes));
    EXPECT_EQ(store::CheckpointReader::open(store_, names_[1]).status().code(), Code::corrupt) << to;
  }
}

}  // namespace
}  // namespace stillframe::test
