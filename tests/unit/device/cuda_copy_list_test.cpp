// The lists that the gather kernel reads: the memory they lie in on the host.
#include <fstream>
#include <sstream>

#include "device/copy_entries.hpp"
#include "unit/device/cuda_fixture.hpp"

namespace stillframe::device {
namespace {

class CudaCopyListTest : public CudaTest {
 protected:
  // Of this process, by the kernel's flag "dc": do not copy on fork.
  static std::size_t bytes_kept_from_children() {
    std::ifstream maps("/proc/self/smaps");
    std::size_t mapping_bytes = 0;
    std::size_t kept = 0;
    for (std::string line; std::getline(maps, line);) {
      std::istringstream words(line);
      std::string word;
      words >> word;
      if (word == "Size:") {
        words >> mapping_bytes;
        mapping_bytes *= 1024;
      }
      if (word != "VmFlags:") continue;
      while (words >> word) {
        if (word == "dc") kept += mapping_bytes;
      }
    }
    return kept;
  }
};

TEST_F(CudaCopyListTest, ItsHostMemoryIsNotInheritedByAChild) {
  constexpr std::size_t kCopies = 1000;
  const std::size_t before = bytes_kept_from_children();
  auto list = taken(device_->make_copy_list(kCopies));
  EXPECT_GE(bytes_kept_from_children(), before + kCopies * sizeof(gather::Entry));
  list.reset();
  EXPECT_EQ(bytes_kept_from_children(), before);
}

}  // namespace
}  // namespace stillframe::device
