// The format's page and the reader stand in every store that was opened for writing, and only there.
#include "store/pages.hpp"

#include <gmock/gmock.h>

#include <fstream>
#include <iterator>

#include "support/golden_parts.hpp"
#include "support/store_fixture.hpp"

namespace stillframe::test {
namespace {

using store::Store;
using testing::HasSubstr;

std::string source_file(const std::string& path) {
  std::ifstream file(std::string(STILLFRAME_SOURCE_DIR) + "/" + path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class Pages : public StoreTest {
 protected:
  std::string page(std::string_view name) {
    const auto content = content_of(env(), env::join(store_path(), name));
    return content.ok() ? *content : "absent";
  }
};
INSTANTIATE_TEST_SUITE_P(On, Pages, testing::Values(EnvKind::posix, EnvKind::mem), env_kind_name);

TEST_P(Pages, AreTheProjectsOwnWordForWord) {
  make_store();
  EXPECT_TRUE(page(format::kFormatPageFile) == source_file("docs/format.md"));
  EXPECT_TRUE(page(format::kReaderFile) == source_file("src/store/read-v1.py"));
  EXPECT_TRUE(page(format::kFormatPageFileV2) == source_file("docs/format-v2.md"));
  EXPECT_TRUE(page(format::kReaderFileV2) == source_file("src/store/read-v2.py"));
  for (const std::string_view reader : {format::kReaderFile, format::kReaderFileV2}) {
    EXPECT_THAT(page(reader), HasSubstr("import"));
  }
}

// They stand in users' stores, and builds put their own text back wherever they find another: a published one never
// changes, not even by a letter. What is to change is a new version, with a page and a reader of its own.
TEST(PagesPublished, ChangeNoMore) {
  const std::map<std::string_view, std::string_view> published{
      {format::kFormatPageFile, "bd30bee905804cbcc6a92761a2e8513b2b8fba309bbb04b49b5bd1151b4e2187"},
      {format::kReaderFile, "c85d89cc8f331abc0ea07e5cf6c76a93b54e24d5d8aaa68d6711ccd2a8892202"},
      {format::kFormatPageFileV2, "689a8bef3d601eda518783f7b59688abc79f00bd5a2594a76418abbcffc12916"},
      {format::kReaderFileV2, "0a4d82d23f106ab4edc0f50dd3163c1ea73bf261df5421deba2af86602ef309a"},
  };
  ASSERT_EQ(store::pages().size(), published.size());
  for (const store::Page& one : store::pages()) {
    EXPECT_EQ(sha256_hex(std::as_bytes(std::span(one.text))), published.at(one.name)) << one.name;
  }
}

TEST_P(Pages, HoldNoPathOfTheMachineThatBuiltThem) {
  for (const store::Page& one : store::pages()) {
    EXPECT_EQ(one.text.find(STILLFRAME_SOURCE_DIR), std::string_view::npos) << one.name;
  }
}

TEST_P(Pages, AreReplacedWhenMissingOrOfAnotherText) {
  make_store();
  for (const std::string_view reader : {format::kReaderFile, format::kReaderFileV2}) {
    SF_ASSERT_OK(overwrite(env(), env::join(store_path(), reader), "print('mine')\n"));
  }
  for (const std::string_view gone : {format::kFormatPageFile, format::kFormatPageFileV2}) {
    SF_ASSERT_OK(env().remove_file(env::join(store_path(), gone)));
  }
  make_store();
  for (const store::Page& one : store::pages()) EXPECT_EQ(page(one.name), one.text);
}

TEST_P(Pages, ReadersWriteNothing) {
  make_store();
  SF_ASSERT_OK(env().remove_file(env::join(store_path(), format::kFormatPageFile)));
  SF_ASSERT_OK(Store::open(env(), store_path()));
  EXPECT_EQ(page(format::kFormatPageFile), "absent");
}

TEST(PagesOnce, AStoreThatHasThemIsOpenedWithoutReplacingThem) {
  FaultEnv env;
  SF_ASSERT_OK(Store::open_or_create(env, "/s"));
  const auto renames = env.calls(EnvOp::rename);
  SF_ASSERT_OK(Store::open_or_create(env, "/s"));
  EXPECT_EQ(env.calls(EnvOp::rename), renames);
}

TEST(PagesOnce, AStoreWhereTheyCannotBeWrittenIsRefusedBeforeTrainingStarts) {
  FaultEnv env;
  env.fail({EnvOp::write_at, Code::no_space, 1, true, std::string(format::kFormatPageFile)});
  const auto opened = Store::open_or_create(env, "/s");
  EXPECT_EQ(opened.status().code(), Code::no_space);
  EXPECT_THAT(opened.status().message(), HasSubstr("free space"));
}

}  // namespace
}  // namespace stillframe::test
