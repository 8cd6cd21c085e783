// What nvcc made stands in the library whole: code for the GPUs of data centres since 2020, and the portable code (PTX)
// for any later one.
#include <gmock/gmock.h>

#include <array>
#include <cstring>
#include <optional>
#include <set>
#include <string>

#include "device/kernels.hpp"

namespace stillframe::device {
namespace {

// A fat binary: a header, then one entry for each piece of code, each with its kind and the compute capability.
constexpr std::uint32_t kMagic = 0xBA55ED50;
constexpr std::size_t kHeaderSizeAt = 6;
constexpr std::size_t kBodyBytesAt = 8;
constexpr std::size_t kEntryHeaderBytesAt = 4;
constexpr std::size_t kEntryBodyBytesAt = 8;
constexpr std::size_t kEntryCapabilityAt = 28;
constexpr std::size_t kLeastEntryBytes = 32;
constexpr std::uint16_t kPtx = 1;
constexpr std::uint16_t kMachineCode = 2;

constexpr std::array<std::uint32_t, 3> kPromised{80, 90, 100};
constexpr std::uint32_t kOldest = 80;

template <typename Number>
Number number_at(std::span<const std::byte> bytes, std::size_t at) {
  Number number = 0;
  std::memcpy(&number, bytes.subspan(at, sizeof number).data(), sizeof number);
  return number;
}

struct Code {
  std::set<std::uint32_t> machine;  // compute capabilities: 80 is 8.0
  std::set<std::uint32_t> portable;
};

// nullopt: it is not laid out like one, or an entry leads out of it.
std::optional<Code> code_in(std::span<const std::byte> image) {
  if (image.size() < kBodyBytesAt + 8 || number_at<std::uint32_t>(image, 0) != kMagic) return std::nullopt;
  const std::size_t header = number_at<std::uint16_t>(image, kHeaderSizeAt);
  if (header > image.size() || number_at<std::uint64_t>(image, kBodyBytesAt) > image.size() - header)
    return std::nullopt;
  std::span<const std::byte> rest = image.subspan(header, number_at<std::uint64_t>(image, kBodyBytesAt));
  Code found;
  while (!rest.empty()) {
    if (rest.size() < kLeastEntryBytes) return std::nullopt;
    const auto kind = number_at<std::uint16_t>(rest, 0);
    const std::size_t own = number_at<std::uint32_t>(rest, kEntryHeaderBytesAt);
    const std::uint64_t body = number_at<std::uint64_t>(rest, kEntryBodyBytesAt);
    if (own < kLeastEntryBytes || own > rest.size() || body > rest.size() - own) return std::nullopt;
    const auto capability = number_at<std::uint32_t>(rest, kEntryCapabilityAt);
    if (kind == kMachineCode) found.machine.insert(capability);
    if (kind == kPtx) found.portable.insert(capability);
    rest = rest.subspan(own + body);
  }
  return found;
}

bool is_known_to_nvcc(std::uint32_t capability) {
  const std::string unknown = "," STILLFRAME_UNKNOWN_GPU_ARCHITECTURES ",";  // as "90,100": it cannot compile for these
  return unknown.find("," + std::to_string(capability) + ",") == std::string::npos;
}

TEST(KernelImage, HoldsCodeForEveryGpuThatWasPromisedAndPortableCodeForLaterOnes) {
  const std::span<const std::byte> image = embedded_kernel_image();
  if (image.empty()) GTEST_SKIP() << "built without nvcc: there are no kernels, and plain copies do their work";
  const auto code = code_in(image);
  ASSERT_TRUE(code.has_value()) << "not a fat binary as nvcc writes it: " << image.size() << " bytes";
  std::string left_out;
  for (const std::uint32_t capability : kPromised) {
    if (is_known_to_nvcc(capability)) {
      EXPECT_THAT(code->machine, testing::Contains(capability));
    } else {
      left_out += " sm_" + std::to_string(capability);
    }
  }
  EXPECT_THAT(code->portable, testing::Contains(kOldest)) << "no later GPU could run the kernels";
  if (!left_out.empty()) GTEST_SKIP() << "this nvcc does not know" << left_out << "; such GPUs take the portable code";
}

}  // namespace
}  // namespace stillframe::device
