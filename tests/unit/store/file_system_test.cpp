#include "store/file_system.hpp"

#include <gmock/gmock.h>

namespace stillframe::store {
namespace {

using testing::HasSubstr;

TEST(FileSystemNotice, NothingIsSaidWhereEveryPromiseHoldsOrNothingIsKnown) {
  for (const char* name : {"ext4", "xfs", "btrfs", "zfs", "f2fs", "gpfs", "ceph", "", "mem", "something new"}) {
    EXPECT_EQ(file_system_notice(name), "") << name;
  }
}

TEST(FileSystemNotice, EachWeakOneIsNamedWithWhatDoesNotHoldAndWhereToRead) {
  const std::vector<std::pair<std::string, std::string>> weak{{"tmpfs", "no power loss"},
                                                              {"ramfs", "no power loss"},
                                                              {"overlay", "volatile"},
                                                              {"nfs", "sync"},
                                                              {"lustre", "flock"},
                                                              {"cifs", "server"},
                                                              {"smb2", "server"},
                                                              {"fuse", "program"},
                                                              {"9p", "host"}};
  for (const auto& [name, word] : weak) {
    const std::string notice = file_system_notice(name);
    EXPECT_THAT(notice, HasSubstr("on " + name)) << name;
    EXPECT_THAT(notice, HasSubstr(word)) << name;
    EXPECT_THAT(notice, HasSubstr("docs/filesystems.md")) << name;
  }
}

}  // namespace
}  // namespace stillframe::store
