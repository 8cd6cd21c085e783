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
    const std::string path = file_of(store_, names_[1], format::kManifestFile);
    std::string text = content_of(env_, path).value();
    text.resize(text.size() - format::kSealLineBytes);
    const std::size_t at = text.find("\"version\": 1");
    ASSERT_NE(at, std::string::npos);
    text.replace(at, 12, "\"version\": 2");
    SF_ASSERT_OK(overwrite(env_, path, format::sealed(text)));
  }

  FaultEnv env_;
  Store store_ = Store::open_or_create(env_, "/s").value();
  std::vector<std::string> names_;
};

TEST_F(FutureVersion, IsRefusedWithTheVersionAndTheOlderOneIsRestored) {
  const Status refused = store::CheckpointReader::open(store_, names_[1]).status();
  EXPECT_EQ(refused.code(), Code::unsupported);
  EXPECT_THAT(refused.message(), HasSubstr("version 2"));
  for (const std::string selector : {"@latest", "@before-nan"}) {
    const auto chooser = restore::Chooser::open(env_, format::parse_address("/s" + selector).value());
    SF_ASSERT_OK(chooser);
    EXPECT_EQ(chooser->current().name(), names_[0]);
    ASSERT_EQ(chooser->skipped().size(), 1U);
    EXPECT_THAT(chooser->skipped()[0].reason, HasSubstr("version 2"));
  }
}

TEST_F(FutureVersion, IsNoDamageAndNothingOfItIsTouched) {
  EXPECT_EQ(store::verify(store_, names_[1], store::VerifyDepth::full, {}).status().code(), Code::unsupported);
  EXPECT_EQ(store::scrub_checkpoint(store_, names_[1], {}).status().code(), Code::unsupported);
  EXPECT_EQ(store::read_catalog(store_)->front().head.status().code(), Code::unsupported);
  SF_ASSERT_OK(store::recover(store_, {}));
  EXPECT_EQ(env_.list(env::join("/s", names_[1]))->size(), 3U) << "no mark, no file less";
}

}  // namespace
}  // namespace stillframe::test
