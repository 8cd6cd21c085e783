// What a power loss may leave of a FaultEnv's disk, and what it never does; processes that die while others live.
#include <gmock/gmock.h>

#include <algorithm>
#include <set>

#include "base/bytes.hpp"
#include "support/fault_content.hpp"
#include "support/fault_env.hpp"

namespace stillframe::test {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::Not;
using testing::UnorderedElementsAre;

constexpr std::uint64_t kSeeds = 400;

std::string get(env::Env& env, const std::string& path) {
  auto text = env::read_whole(env, path, 1 << 20);
  return text.ok() ? *text : std::string(code_name(text.status().code()));
}

std::string names_in(env::Env& env, const std::string& path) {
  auto entries = env.list(path);
  if (!entries.ok()) return std::string(code_name(entries.status().code()));
  std::vector<std::string> names;
  for (const auto& entry : *entries) names.push_back(entry.name);
  std::ranges::sort(names);
  std::string all;
  for (const std::string& name : names) all += name + " ";
  return all;
}

class FaultSurvivor : public testing::Test {
 protected:
  FaultEnv env_;

  std::unique_ptr<env::File> create(const std::string& path) { return env_.create(path).value(); }
  void put(const std::string& path, std::string_view text) {
    const auto file = create(path);
    ASSERT_TRUE(file->write_at(0, base::as_bytes(text)).ok());
    ASSERT_TRUE(file->sync().ok());
  }
  template <typename Look>
  std::set<std::string> seen(Look look) const {
    std::set<std::string> all;
    for (std::uint64_t seed = 0; seed < kSeeds; ++seed) all.insert(look(*env_.survivor(seed)));
    return all;
  }
};

TEST_F(FaultSurvivor, UnsyncedBytesMayBeThereOrNotBlockByBlockAndTheSizeOldOrNew) {
  put("/f", std::string(2 * kFaultBlockBytes, 'o'));
  ASSERT_TRUE(env_.sync_dir("/").ok());
  ASSERT_TRUE(env_.remove_file("/f").ok());
  const auto file = create("/f");
  ASSERT_TRUE(file->write_at(0, base::as_bytes(std::string(2 * kFaultBlockBytes, 'o'))).ok());
  ASSERT_TRUE(file->sync().ok());
  ASSERT_TRUE(env_.sync_dir("/").ok());
  ASSERT_TRUE(file->write_at(0, base::as_bytes(std::string(3 * kFaultBlockBytes, 'n'))).ok());
  const auto shapes = seen([](FaultEnv& after) {
    const std::string text = get(after, "/f");
    std::string shape;
    for (std::size_t at = 0; at < text.size(); at += kFaultBlockBytes) {
      const std::string block = text.substr(at, kFaultBlockBytes);
      const bool is_one = block == std::string(block.size(), block[0]);
      shape += is_one ? (block[0] == '\0' ? '0' : block[0]) : '?';
    }
    return shape;
  });
  for (const std::string shape : {"oo", "on", "no", "nn", "nnn", "oo0", "on0", "non"})
    EXPECT_THAT(shapes, Contains(shape));
  EXPECT_TRUE(std::ranges::any_of(shapes, [](const std::string& shape) {
    return shape.find('?') != std::string::npos;
  })) << "no block was torn";
}

TEST_F(FaultSurvivor, ABlockIsTornBetweenSectorsOnly) {
  const auto file = create("/f");
  ASSERT_TRUE(file->write_at(0, base::as_bytes(std::string(kFaultBlockBytes, 'o'))).ok());
  ASSERT_TRUE(file->sync().ok());
  ASSERT_TRUE(env_.sync_dir("/").ok());
  ASSERT_TRUE(file->write_at(0, base::as_bytes(std::string(kFaultBlockBytes, 'n'))).ok());
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    const std::string text = get(*env_.survivor(seed), "/f");
    ASSERT_EQ(text.size(), kFaultBlockBytes);
    for (std::size_t at = 0; at < text.size(); at += kFaultSectorBytes) {
      const std::string sector = text.substr(at, kFaultSectorBytes);
      EXPECT_EQ(sector, std::string(kFaultSectorBytes, sector[0])) << "seed " << seed;
    }
  }
}

TEST_F(FaultSurvivor, WhatWasSyncedIsNeverTouched) {
  const auto file = create("/f");
  ASSERT_TRUE(file->write_at(0, base::as_bytes(std::string(10'000, 's'))).ok());
  ASSERT_TRUE(file->sync().ok());
  ASSERT_TRUE(env_.sync_dir("/").ok());
  ASSERT_TRUE(file->write_at(10'000, base::as_bytes(std::string(10'000, 'u'))).ok());
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    EXPECT_EQ(get(*env_.survivor(seed), "/f").substr(0, 8192), std::string(8192, 's')) << "seed " << seed;
  }
}

TEST_F(FaultSurvivor, ASyncOfAFileDoesNotMakeItsNameCertain) {
  put("/f", "x");
  EXPECT_THAT(seen([](FaultEnv& after) { return get(after, "/f"); }), UnorderedElementsAre("x", "not found"));
  ASSERT_TRUE(env_.sync_dir("/").ok());
  EXPECT_THAT(seen([](FaultEnv& after) { return get(after, "/f"); }), UnorderedElementsAre("x"));
}

TEST_F(FaultSurvivor, ANewDirectoryWhoseParentIsNotSyncedMayBeMissingWithAllItHolds) {
  ASSERT_TRUE(env_.make_dir("/d").ok());
  put("/d/f", "x");
  ASSERT_TRUE(env_.sync_dir("/d").ok());
  EXPECT_THAT(seen([](FaultEnv& after) { return get(after, "/d/f"); }), UnorderedElementsAre("x", "not found"));
}

TEST_F(FaultSurvivor, ARenamedDirectoryIsUnderOneOfItsNames) {
  ASSERT_TRUE(env_.make_dirs_synced("/old").ok());
  ASSERT_TRUE(env_.rename_no_replace("/old", "/new").ok());
  const auto names = seen([](FaultEnv& after) { return names_in(after, "/"); });
  EXPECT_THAT(names, Contains("old "));
  EXPECT_THAT(names, Contains("new "));
  EXPECT_THAT(names, Not(Contains("new old ")));
}

TEST_F(FaultSurvivor, AReplacedFileIsTheOldOrTheNewOne) {
  put("/f", "old");
  ASSERT_TRUE(env_.sync_dir("/").ok());
  put("/f.tmp", "new");
  ASSERT_TRUE(env_.rename("/f.tmp", "/f").ok());
  EXPECT_THAT(seen([](FaultEnv& after) { return get(after, "/f"); }), UnorderedElementsAre("old", "new"));
}

TEST_F(FaultSurvivor, ChangesOfOneDirectoryMayBeLostFromTheEndOrAnyOfThem) {
  put("/a", "");
  put("/b", "");
  const auto names = seen([](FaultEnv& after) { return names_in(after, "/"); });
  EXPECT_THAT(names, UnorderedElementsAre("", "a ", "b ", "a b "));
}

TEST_F(FaultSurvivor, LinksAndRemovalsAreLostOrKeptAsWell) {
  put("/f", "x");
  ASSERT_TRUE(env_.make_dirs_synced("/d").ok());
  ASSERT_TRUE(env_.link("/f", "/d/g").ok());
  EXPECT_THAT(seen([](FaultEnv& after) { return get(after, "/d/g"); }), UnorderedElementsAre("x", "not found"));
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const auto after = env_.survivor(seed);
    EXPECT_EQ(after->info("/f")->links, *after->exists("/d/g") ? 2U : 1U);
  }
  ASSERT_TRUE(env_.remove_file("/f").ok());
  EXPECT_THAT(seen([](FaultEnv& after) { return get(after, "/f"); }), UnorderedElementsAre("x", "not found"));
}

TEST_F(FaultSurvivor, AfterAFailedSyncNoLaterSyncMakesTheBytesCertain) {
  const auto file = create("/f");
  ASSERT_TRUE(env_.sync_dir("/").ok());
  ASSERT_TRUE(file->write_at(0, base::as_bytes("x")).ok());
  env_.fail({.op = EnvOp::sync, .code = Code::io_error});
  ASSERT_FALSE(file->sync().ok());
  const auto again = env_.open("/f").value();
  EXPECT_TRUE(again->sync().ok()) << "the kernel reports a lost page once";
  EXPECT_EQ(get(*env_.survivor(FaultEnv::kOnlySynced), "/f"), "");
}

TEST_F(FaultSurvivor, TheSameSeedGivesTheSameSurvivor) {
  put("/a", "1");
  const auto file = create("/b");
  ASSERT_TRUE(file->write_at(0, base::as_bytes(std::string(20'000, 'b'))).ok());
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const auto first = env_.survivor(seed);
    const auto second = env_.survivor(seed);
    EXPECT_EQ(first->fingerprint(), second->fingerprint());
    EXPECT_EQ(names_in(*first, "/"), names_in(*second, "/"));
    EXPECT_EQ(get(*first, "/b"), get(*second, "/b"));
  }
}

TEST_F(FaultSurvivor, TheOtherWorldIsApart) {
  put("/f", "before");
  ASSERT_TRUE(env_.sync_dir("/").ok());
  const auto copy = env_.copy();
  ASSERT_TRUE(env::replace_file_synced(*copy, "/f", base::as_bytes("after")).ok());
  EXPECT_EQ(get(env_, "/f"), "before");
  EXPECT_EQ(get(*copy, "/f"), "after");
}

TEST_F(FaultSurvivor, AProcessDiesInItsNthChangeAndDoesNothingMore) {
  env_.die_at(2);
  const auto file = env_.create("/f");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ((*file)->write_at(0, base::as_bytes("abcd")).code(), Code::io_error);
  EXPECT_TRUE(env_.is_dead());
  EXPECT_FALSE((*file)->write_at(0, base::as_bytes("abcd")).ok());
  EXPECT_FALSE(env_.make_dir("/d").ok());
  EXPECT_FALSE(env_.exists("/f").ok());
  const auto next = env_.new_process();
  EXPECT_EQ(get(*next, "/f"), "ab") << "what a killed process wrote stays";
  EXPECT_EQ(names_in(*next, "/"), "f ");
}

TEST_F(FaultSurvivor, LocksConflictBetweenProcessesAndEndWithTheirs) {
  const auto other = env_.new_process();
  const auto held = env_.try_lock("/lock", env::LockMode::exclusive);
  const auto others = other->try_lock("/others", env::LockMode::exclusive);
  ASSERT_TRUE(held.ok() && others.ok());
  EXPECT_EQ(other->try_lock("/lock", env::LockMode::exclusive).status().code(), Code::busy);
  env_.die();
  EXPECT_TRUE(other->try_lock("/lock", env::LockMode::exclusive).ok());
  EXPECT_EQ(other->try_lock("/others", env::LockMode::exclusive).status().code(), Code::busy);
}

TEST_F(FaultSurvivor, AnObserverMayUseTheDiskBetweenTwoChangesOfAnotherProcess) {
  const auto other = env_.new_process();
  std::vector<std::string> told;
  env_.before_change([&](EnvOp op, const std::string& path) {
    told.push_back(std::string(env_op_name(op)) + " " + path);
    other->make_dir(path + ".seen").ignore("the names at the end tell");
  });
  ASSERT_TRUE(env_.make_dir("/a").ok());
  ASSERT_TRUE(env_.exists("/a").ok());
  ASSERT_TRUE(env_.make_dir("/b").ok());
  EXPECT_THAT(told, ElementsAre("make_dir /a", "make_dir /b"));
  EXPECT_EQ(names_in(env_, "/"), "a a.seen b b.seen ");
}

TEST_F(FaultSurvivor, AnyChangeMayFailAndAFullDiskStillRemoves) {
  put("/f", "x");
  env_.fail({.op = EnvOp::any_change, .code = Code::no_space, .for_ever = true});
  EXPECT_EQ(env_.make_dir("/d").code(), Code::no_space);
  EXPECT_EQ(env_.rename("/f", "/g").code(), Code::no_space);
  EXPECT_TRUE(env_.remove_file("/f").ok());
  env_.fail_nothing();
  env_.fail({.op = EnvOp::any_change, .code = Code::io_error, .nth_call = 2});
  EXPECT_TRUE(env_.make_dir("/d").ok());
  EXPECT_EQ(env_.remove_dir("/d").code(), Code::io_error);
  EXPECT_TRUE(env_.remove_dir("/d").ok());
}

}  // namespace
}  // namespace stillframe::test
