// What every Env must do. A harness is default-constructible and gives `env()` and `root()`, an empty directory:
//   INSTANTIATE_TYPED_TEST_SUITE_P(Fault, EnvContract, FaultHarness);
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "env/env.hpp"

namespace stillframe::test {

template <typename Harness>
class EnvContract : public testing::Test {
 protected:
  env::Env& env() { return harness_.env(); }
  std::string at(std::string_view name) { return env::join(harness_.root(), name); }

  void put(const std::string& path, std::string_view text) {
    auto file = env().create(path);
    ASSERT_TRUE(file.ok()) << file.status().message();
    const Status written = (*file)->write_at(0, base::as_bytes(text));
    ASSERT_TRUE(written.ok()) << written.message();
  }
  std::string get(const std::string& path) {
    auto text = env::read_whole(env(), path, 1 << 20);
    return text.ok() ? *text : "<" + text.status().message() + ">";
  }
  bool is_there(const std::string& path) {
    auto there = env().exists(path);
    EXPECT_TRUE(there.ok()) << there.status().message();
    return there.ok() && *there;
  }

 private:
  Harness harness_;
};

#define SF_EXPECT_OK(expr)                          \
  do {                                              \
    const ::stillframe::Status sf_got_ = (expr);    \
    EXPECT_TRUE(sf_got_.ok()) << sf_got_.message(); \
  } while (false)

TYPED_TEST_SUITE_P(EnvContract);

TYPED_TEST_P(EnvContract, WhatIsWrittenIsReadByTheWriterAndByALaterReader) {
  auto file = this->env().create(this->at("f"));
  ASSERT_TRUE(file.ok()) << file.status().message();
  SF_EXPECT_OK((*file)->write_at(0, base::as_bytes("hello")));
  SF_EXPECT_OK((*file)->write_at(5, base::as_bytes(" world")));
  SF_EXPECT_OK((*file)->sync());
  (*file)->drop_cache();
  std::string text(11, '?');
  auto got = (*file)->read_at(0, std::as_writable_bytes(std::span(text)));
  ASSERT_TRUE(got.ok()) << got.status().message();
  EXPECT_EQ(*got, 11U);
  EXPECT_EQ(text, "hello world");
  EXPECT_EQ(this->get(this->at("f")), "hello world");
}

TYPED_TEST_P(EnvContract, AGapBetweenWritesReadsAsZeros) {
  auto file = this->env().create(this->at("f"));
  ASSERT_TRUE(file.ok()) << file.status().message();
  SF_EXPECT_OK((*file)->write_at(3, base::as_bytes("x")));
  EXPECT_EQ(this->get(this->at("f")), std::string("\0\0\0x", 4));
}

TYPED_TEST_P(EnvContract, AReadGivesFewerBytesOnlyAtTheEndOfTheFile) {
  this->put(this->at("f"), "abcdef");
  auto file = this->env().open(this->at("f"));
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(*(*file)->size(), 6U);
  std::string text(4, '?');
  EXPECT_EQ(*(*file)->read_at(4, std::as_writable_bytes(std::span(text))), 2U);
  EXPECT_EQ(text.substr(0, 2), "ef");
  EXPECT_EQ(*(*file)->read_at(6, std::as_writable_bytes(std::span(text))), 0U);
  EXPECT_EQ(*(*file)->read_at(~std::uint64_t{0}, std::as_writable_bytes(std::span(text))), 0U);
}

TYPED_TEST_P(EnvContract, AWriteBeyondTheLargestFileIsNoSpace) {
  auto file = this->env().create(this->at("f"));
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ((*file)->write_at(~std::uint64_t{0} - 1, base::as_bytes("x")).code(), Code::no_space);
}

TYPED_TEST_P(EnvContract, CreateRefusesANameThatIsTakenAndLeavesIt) {
  this->put(this->at("f"), "old");
  EXPECT_EQ(this->env().create(this->at("f")).status().code(), Code::busy);
  EXPECT_EQ(this->get(this->at("f")), "old");
}

TYPED_TEST_P(EnvContract, AFileOpenedForReadingCannotBeWritten) {
  this->put(this->at("f"), "old");
  auto file = this->env().open(this->at("f"));
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ((*file)->write_at(0, base::as_bytes("new")).code(), Code::io_error);
  EXPECT_EQ(this->get(this->at("f")), "old");
}

TYPED_TEST_P(EnvContract, WhatIsMissingIsNotFoundAndTheMessageNamesThePath) {
  const std::string missing = this->at("missing");
  const std::vector<Status> refusals{
      this->env().open(missing).status(),
      this->env().create(missing + "/f").status(),
      this->env().make_dir(missing + "/d"),
      this->env().list(missing).status(),
      this->env().info(missing).status(),
      this->env().link(missing, this->at("to")),
      this->env().rename(missing, this->at("to")),
      this->env().rename_no_replace(missing, this->at("to")),
      this->env().remove_file(missing),
      this->env().remove_dir(missing),
      this->env().sync_dir(missing),
      this->env().try_lock(missing, env::LockMode::shared).status(),
      this->env().space(missing).status(),
      this->env().real_path(missing).status(),
  };
  for (const Status& refusal : refusals) {
    EXPECT_EQ(refusal.code(), Code::not_found) << refusal.message();
    EXPECT_NE(refusal.message().find("missing"), std::string::npos) << refusal.message();
  }
  EXPECT_FALSE(this->is_there(missing));
  EXPECT_FALSE(this->is_there(missing + "/below"));
}

TYPED_TEST_P(EnvContract, AFileIsNoDirectoryAndADirectoryNoFile) {
  this->put(this->at("f"), "x");
  SF_EXPECT_OK(this->env().make_dir(this->at("d")));
  EXPECT_EQ(this->env().open(this->at("d")).status().code(), Code::io_error);
  EXPECT_EQ(this->env().list(this->at("f")).status().code(), Code::io_error);
  EXPECT_EQ(this->env().sync_dir(this->at("f")).code(), Code::io_error);
  EXPECT_EQ(this->env().remove_file(this->at("d")).code(), Code::io_error);
  EXPECT_EQ(this->env().remove_dir(this->at("f")).code(), Code::io_error);
  EXPECT_EQ(this->env().create(this->at("f/below")).status().code(), Code::io_error);
  EXPECT_EQ(this->env().try_lock(this->at("d"), env::LockMode::shared).status().code(), Code::io_error);
  EXPECT_FALSE(this->is_there(this->at("f/below")));
}

TYPED_TEST_P(EnvContract, ListNamesEveryEntryAndItsKindOnce) {
  SF_EXPECT_OK(this->env().make_dir(this->at("d")));
  this->put(this->at("d/f"), "x");
  SF_EXPECT_OK(this->env().make_dir(this->at("d/sub")));
  this->put(this->at("d/sub/deeper"), "x");
  auto listed = this->env().list(this->at("d"));
  ASSERT_TRUE(listed.ok()) << listed.status().message();
  std::vector<std::pair<std::string, bool>> entries;
  for (const env::DirEntry& entry : *listed) entries.emplace_back(entry.name, entry.is_directory);
  std::ranges::sort(entries);
  EXPECT_EQ(entries, (std::vector<std::pair<std::string, bool>>{{"f", false}, {"sub", true}}));
}

TYPED_TEST_P(EnvContract, MakeDirRefusesANameThatIsTaken) {
  SF_EXPECT_OK(this->env().make_dir(this->at("d")));
  EXPECT_EQ(this->env().make_dir(this->at("d")).code(), Code::busy);
}

TYPED_TEST_P(EnvContract, MakeDirsMakesWhatIsMissingAndIsContentWithWhatIsThere) {
  SF_EXPECT_OK(this->env().make_dirs_synced(this->at("a/b/c")));
  EXPECT_TRUE(this->is_there(this->at("a/b/c")));
  SF_EXPECT_OK(this->env().make_dirs_synced(this->at("a/b/c")));
  SF_EXPECT_OK(this->env().make_dirs_synced(this->at("a/b/d/")));
  EXPECT_TRUE(this->env().list(this->at("a/b/d")).ok());
}

TYPED_TEST_P(EnvContract, MakeDirsRefusesAFileInTheWay) {
  this->put(this->at("f"), "x");
  EXPECT_EQ(this->env().make_dirs_synced(this->at("f")).code(), Code::io_error);
  EXPECT_EQ(this->env().make_dirs_synced(this->at("f/d")).code(), Code::io_error);
  EXPECT_EQ(this->get(this->at("f")), "x");
}

TYPED_TEST_P(EnvContract, InfoSaysSizeOwnerAndKind) {
  this->put(this->at("f"), "12345");
  SF_EXPECT_OK(this->env().make_dir(this->at("d")));
  const auto file = this->env().info(this->at("f"));
  const auto directory = this->env().info(this->at("d/"));
  ASSERT_TRUE(file.ok() && directory.ok());
  EXPECT_EQ(file->bytes, 5U);
  EXPECT_EQ(file->owner_uid, this->env().user_id());
  EXPECT_EQ(file->links, 1U);
  EXPECT_TRUE(file->is_regular_file && !file->is_directory);
  EXPECT_EQ(directory->bytes, 0U);
  EXPECT_EQ(directory->owner_uid, this->env().user_id());
  EXPECT_TRUE(directory->is_directory && !directory->is_regular_file);
  EXPECT_NE(file->file_id, directory->file_id);
}

TYPED_TEST_P(EnvContract, AnOpenFileTellsTheSameAsItsPathAndStaysWhatItIsUnderAnotherName) {
  this->put(this->at("f"), "12345");
  auto file = this->env().open(this->at("f"));
  ASSERT_TRUE(file.ok()) << file.status().message();
  const auto by_path = this->env().info(this->at("f"));
  ASSERT_TRUE(by_path.ok());
  SF_EXPECT_OK(this->env().rename(this->at("f"), this->at("moved")));
  const auto by_file = (*file)->info();
  ASSERT_TRUE(by_file.ok()) << by_file.status().message();
  EXPECT_EQ(by_file->file_id, by_path->file_id);
  EXPECT_EQ(by_file->bytes, 5U);
  EXPECT_EQ(by_file->links, 1U);
  SF_EXPECT_OK(this->env().remove_file(this->at("moved")));
  EXPECT_EQ((*file)->info()->links, 0U);
}

TYPED_TEST_P(EnvContract, ALinkIsASecondNameOfOneFile) {
  SF_EXPECT_OK(this->env().make_dir(this->at("d")));
  this->put(this->at("f"), "bytes");
  SF_EXPECT_OK(this->env().link(this->at("f"), this->at("d/second")));
  const auto first = this->env().info(this->at("f"));
  const auto second = this->env().info(this->at("d/second"));
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(first->file_id, second->file_id);
  EXPECT_EQ(second->links, 2U);
  SF_EXPECT_OK(this->env().remove_file(this->at("f")));
  EXPECT_EQ(this->get(this->at("d/second")), "bytes");
  EXPECT_EQ(this->env().info(this->at("d/second"))->links, 1U);
}

TYPED_TEST_P(EnvContract, LinkNeverReplacesAndTakesFilesOnly) {
  this->put(this->at("f"), "mine");
  this->put(this->at("taken"), "theirs");
  SF_EXPECT_OK(this->env().make_dir(this->at("d")));
  EXPECT_EQ(this->env().link(this->at("f"), this->at("taken")).code(), Code::busy);
  EXPECT_EQ(this->env().link(this->at("f"), this->at("d")).code(), Code::busy);
  EXPECT_EQ(this->env().link(this->at("f"), this->at("f")).code(), Code::busy);
  EXPECT_EQ(this->env().link(this->at("d"), this->at("d2")).code(), Code::io_error);
  EXPECT_EQ(this->env().link(this->at("f"), this->at("missing/f")).code(), Code::not_found);
  EXPECT_EQ(this->get(this->at("taken")), "theirs");
  EXPECT_EQ(this->env().info(this->at("f"))->links, 1U);
}

TYPED_TEST_P(EnvContract, ARenameOntoAnotherNameOfTheSameFileKeepsTheContent) {
  this->put(this->at("f"), "bytes");
  SF_EXPECT_OK(this->env().link(this->at("f"), this->at("g")));
  SF_EXPECT_OK(this->env().rename(this->at("f"), this->at("g")));
  EXPECT_EQ(this->get(this->at("g")), "bytes");
}

TYPED_TEST_P(EnvContract, RenameReplacesAFile) {
  this->put(this->at("from"), "new");
  this->put(this->at("to"), "old");
  SF_EXPECT_OK(this->env().rename(this->at("from"), this->at("to")));
  EXPECT_EQ(this->get(this->at("to")), "new");
  EXPECT_FALSE(this->is_there(this->at("from")));
}

TYPED_TEST_P(EnvContract, AReaderThatHasOpenedAFileKeepsItWhenItIsReplacedOrRemoved) {
  this->put(this->at("f"), "old");
  this->put(this->at("next"), "new");
  auto reader = this->env().open(this->at("f"));
  ASSERT_TRUE(reader.ok()) << reader.status().message();
  SF_EXPECT_OK(this->env().rename(this->at("next"), this->at("f")));
  SF_EXPECT_OK(this->env().remove_file(this->at("f")));
  std::string text(3, '?');
  EXPECT_EQ(*(*reader)->read_at(0, std::as_writable_bytes(std::span(text))), 3U);
  EXPECT_EQ(text, "old");
}

TYPED_TEST_P(EnvContract, RenameNeverReplacesADirectoryThatHoldsSomething) {
  SF_EXPECT_OK(this->env().make_dirs_synced(this->at("from")));
  SF_EXPECT_OK(this->env().make_dirs_synced(this->at("to/kept")));
  EXPECT_EQ(this->env().rename(this->at("from"), this->at("to")).code(), Code::io_error);
  EXPECT_TRUE(this->is_there(this->at("to/kept")));
  EXPECT_TRUE(this->is_there(this->at("from")));
}

TYPED_TEST_P(EnvContract, ADirectoryCannotBeMovedIntoItself) {
  SF_EXPECT_OK(this->env().make_dir(this->at("d")));
  EXPECT_EQ(this->env().rename(this->at("d"), this->at("d/below")).code(), Code::io_error);
  EXPECT_EQ(this->env().rename_no_replace(this->at("d"), this->at("d/below")).code(), Code::io_error);
  EXPECT_TRUE(this->is_there(this->at("d")));
}

TYPED_TEST_P(EnvContract, RenameNoReplaceMovesADirectoryWithWhatItHolds) {
  SF_EXPECT_OK(this->env().make_dir(this->at("x.partial")));
  this->put(this->at("x.partial/data"), "bytes");
  SF_EXPECT_OK(this->env().rename_no_replace(this->at("x.partial"), this->at("x")));
  EXPECT_EQ(this->get(this->at("x/data")), "bytes");
  EXPECT_FALSE(this->is_there(this->at("x.partial")));
}

TYPED_TEST_P(EnvContract, RenameNoReplaceRefusesATakenNameAndChangesNothing) {
  this->put(this->at("file"), "mine");
  this->put(this->at("taken_file"), "theirs");
  SF_EXPECT_OK(this->env().make_dir(this->at("dir")));
  SF_EXPECT_OK(this->env().make_dir(this->at("taken_dir")));  // empty: a plain rename would replace it
  EXPECT_EQ(this->env().rename_no_replace(this->at("file"), this->at("taken_file")).code(), Code::busy);
  EXPECT_EQ(this->env().rename_no_replace(this->at("dir"), this->at("taken_dir")).code(), Code::busy);
  EXPECT_EQ(this->get(this->at("file")), "mine");
  EXPECT_EQ(this->get(this->at("taken_file")), "theirs");
  EXPECT_TRUE(this->is_there(this->at("dir")));
}

TYPED_TEST_P(EnvContract, RemoveTakesFilesAndEmptyDirectoriesOnly) {
  SF_EXPECT_OK(this->env().make_dir(this->at("d")));
  this->put(this->at("d/f"), "x");
  EXPECT_EQ(this->env().remove_dir(this->at("d")).code(), Code::io_error);
  EXPECT_EQ(this->get(this->at("d/f")), "x");
  SF_EXPECT_OK(this->env().remove_file(this->at("d/f")));
  SF_EXPECT_OK(this->env().remove_dir(this->at("d")));
  EXPECT_FALSE(this->is_there(this->at("d")));
}

TYPED_TEST_P(EnvContract, AnExclusiveLockKeepsEverybodyElseOutUntilItGoes) {
  const std::string path = this->at("lock");
  auto held = this->env().try_lock(path, env::LockMode::exclusive);
  ASSERT_TRUE(held.ok()) << held.status().message();
  const Status second = this->env().try_lock(path, env::LockMode::exclusive).status();
  EXPECT_EQ(second.code(), Code::busy);
  EXPECT_NE(second.message().find(path), std::string::npos) << second.message();
  EXPECT_EQ(this->env().try_lock(path, env::LockMode::shared).status().code(), Code::busy);
  std::move(held).value().reset();
  EXPECT_TRUE(this->env().try_lock(path, env::LockMode::exclusive).ok());
  EXPECT_TRUE(this->env().try_lock(path, env::LockMode::shared).ok());
}

TYPED_TEST_P(EnvContract, SharedLocksStandTogetherAndKeepAnExclusiveOneOut) {
  const std::string path = this->at("lock");
  this->put(path, "");
  auto first = this->env().try_lock(path, env::LockMode::shared);
  auto second = this->env().try_lock(path, env::LockMode::shared);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(this->env().try_lock(path, env::LockMode::exclusive).status().code(), Code::busy);
  std::move(first).value().reset();
  EXPECT_EQ(this->env().try_lock(path, env::LockMode::exclusive).status().code(), Code::busy);
  std::move(second).value().reset();
  EXPECT_TRUE(this->env().try_lock(path, env::LockMode::exclusive).ok());
}

TYPED_TEST_P(EnvContract, ALockNeverChangesTheFileItLocks) {
  this->put(this->at("lock"), "who holds it");
  EXPECT_TRUE(this->env().try_lock(this->at("lock"), env::LockMode::exclusive).ok());
  EXPECT_EQ(this->get(this->at("lock")), "who holds it");
}

TYPED_TEST_P(EnvContract, SpaceSaysFreeAndTotal) {
  auto space = this->env().space(this->at(""));
  ASSERT_TRUE(space.ok()) << space.status().message();
  EXPECT_GT(space->total_bytes, 0U);
  EXPECT_LE(space->free_bytes, space->total_bytes);
}

TYPED_TEST_P(EnvContract, RealPathIsAbsoluteAndOneForAllSpellings) {
  SF_EXPECT_OK(this->env().make_dirs_synced(this->at("a/b")));
  auto plain = this->env().real_path(this->at("a"));
  auto winding = this->env().real_path(this->at("a/./b/../"));
  ASSERT_TRUE(plain.ok() && winding.ok());
  EXPECT_EQ(*plain, *winding);
  EXPECT_EQ(plain->front(), '/');
}

TYPED_TEST_P(EnvContract, ReadWholeRefusesAFileLargerThanItsLimit) {
  this->put(this->at("f"), "12345");
  EXPECT_EQ(*env::read_whole(this->env(), this->at("f"), 5), "12345");
  const Status refused = env::read_whole(this->env(), this->at("f"), 4).status();
  EXPECT_EQ(refused.code(), Code::corrupt);
  EXPECT_NE(refused.message().find(this->at("f")), std::string::npos) << refused.message();
}

TYPED_TEST_P(EnvContract, ReplaceFileMakesReplacesAndLeavesNoTemporary) {
  const std::string path = this->at("f");
  SF_EXPECT_OK(env::replace_file_synced(this->env(), path, base::as_bytes("first, and longer")));
  EXPECT_EQ(this->get(path), "first, and longer");
  SF_EXPECT_OK(env::replace_file_synced(this->env(), path, base::as_bytes("second")));
  EXPECT_EQ(this->get(path), "second");
  EXPECT_EQ(this->env().list(this->at(""))->size(), 1U);
}

TYPED_TEST_P(EnvContract, ReplaceFileWritesOverATemporaryThatACrashLeft) {
  this->put(this->at("f.tmp"), "half of something, and longer");
  SF_EXPECT_OK(env::replace_file_synced(this->env(), this->at("f"), base::as_bytes("whole")));
  EXPECT_EQ(this->get(this->at("f")), "whole");
  EXPECT_FALSE(this->is_there(this->at("f.tmp")));
}

REGISTER_TYPED_TEST_SUITE_P(EnvContract, WhatIsWrittenIsReadByTheWriterAndByALaterReader, AGapBetweenWritesReadsAsZeros,
                            AReadGivesFewerBytesOnlyAtTheEndOfTheFile, AWriteBeyondTheLargestFileIsNoSpace,
                            CreateRefusesANameThatIsTakenAndLeavesIt, AFileOpenedForReadingCannotBeWritten,
                            WhatIsMissingIsNotFoundAndTheMessageNamesThePath, AFileIsNoDirectoryAndADirectoryNoFile,
                            ListNamesEveryEntryAndItsKindOnce, MakeDirRefusesANameThatIsTaken,
                            MakeDirsMakesWhatIsMissingAndIsContentWithWhatIsThere, MakeDirsRefusesAFileInTheWay,
                            InfoSaysSizeOwnerAndKind, AnOpenFileTellsTheSameAsItsPathAndStaysWhatItIsUnderAnotherName,
                            ALinkIsASecondNameOfOneFile, LinkNeverReplacesAndTakesFilesOnly,
                            ARenameOntoAnotherNameOfTheSameFileKeepsTheContent, RenameReplacesAFile,
                            AReaderThatHasOpenedAFileKeepsItWhenItIsReplacedOrRemoved,
                            RenameNeverReplacesADirectoryThatHoldsSomething, ADirectoryCannotBeMovedIntoItself,
                            RenameNoReplaceMovesADirectoryWithWhatItHolds,
                            RenameNoReplaceRefusesATakenNameAndChangesNothing, RemoveTakesFilesAndEmptyDirectoriesOnly,
                            AnExclusiveLockKeepsEverybodyElseOutUntilItGoes,
                            SharedLocksStandTogetherAndKeepAnExclusiveOneOut, ALockNeverChangesTheFileItLocks,
                            SpaceSaysFreeAndTotal, RealPathIsAbsoluteAndOneForAllSpellings,
                            ReadWholeRefusesAFileLargerThanItsLimit, ReplaceFileMakesReplacesAndLeavesNoTemporary,
                            ReplaceFileWritesOverATemporaryThatACrashLeft);

}  // namespace stillframe::test
