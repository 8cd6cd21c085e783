#include "stillframe/status.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <set>
#include <vector>

#include "base/bytes.hpp"
#include "base/unique_fd.hpp"
#include "stillframe/types.hpp"

namespace stillframe {
namespace {

Status fail_at(int place, int at) {
  return place == at ? Status(Code::io_error, "broke at " + std::to_string(at)) : Status();
}
Status try_three(int place, int& reached) {
  for (int at = 0; at < 3; ++at) {
    SF_TRY(fail_at(place, at));
    reached = at;
  }
  return {};
}
Result<std::unique_ptr<int>> make(int value) {
  if (value < 0) return Status(Code::invalid_argument, "below zero");
  return std::make_unique<int>(value);
}
Result<int> sum(int a, int b) {
  SF_ASSIGN(const std::unique_ptr<int> left, make(a));
  SF_ASSIGN(const std::unique_ptr<int> right, make(b));
  return *left + *right;
}

TEST(Status, IsOkUntilToldOtherwise) {
  EXPECT_TRUE(Status().ok());
  EXPECT_TRUE(static_cast<bool>(Status()));
  const Status status(Code::busy, "held by another");
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(status.code(), Code::busy);
  EXPECT_EQ(status.with_context("opening the store").message(), "opening the store: held by another");
  EXPECT_EQ(status.with_context("opening the store").code(), Code::busy);
  EXPECT_TRUE(Status().with_context("anything").message().empty());
}

TEST(Status, TryReturnsTheFirstErrorAndGoesNoFurther) {
  int reached = -1;
  EXPECT_EQ(try_three(1, reached).message(), "broke at 1");
  EXPECT_EQ(reached, 0);
  EXPECT_TRUE(try_three(9, reached).ok());
  EXPECT_EQ(reached, 2);
}

TEST(Result, HoldsAValueOrAnError) {
  EXPECT_EQ(*sum(2, 3), 5);
  EXPECT_EQ(sum(2, -3).status().code(), Code::invalid_argument);
  EXPECT_EQ(sum(-2, 3).status().message(), "below zero");
  EXPECT_TRUE(sum(1, 1).status().ok());
}

TEST(Result, MovesWhatCannotBeCopied) {
  auto made = make(4);
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(**made, 4);
  const std::unique_ptr<int> owned = std::move(made).value();
  EXPECT_EQ(*owned, 4);
}

TEST(Result, ALoopOverATemporarysValueReadsWhatIsStillThere) {
  const auto numbers = [] { return Result<std::vector<int>>(std::vector<int>{1, 2, 3}); };
  int total = 0;
  for (const int number : numbers().value()) total += number;
  EXPECT_EQ(total, 6);
}

TEST(Result, AnOkStatusWithoutAValueIsADefectAndNotAValue) {
  const Result<int> result{Status()};
  EXPECT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), Code::internal);
}

TEST(Codes, EachHasItsOwnName) {
  std::set<std::string_view> names;
  for (std::int32_t code = 0; code <= static_cast<std::int32_t>(Code::internal); ++code) {
    names.insert(code_name(static_cast<Code>(code)));
  }
  EXPECT_EQ(names.size(), 12U);
  EXPECT_EQ(names.count("unknown"), 0U);
  EXPECT_EQ(code_name(static_cast<Code>(999)), "unknown");
}

TEST(HumanBytes, AreRoundedToOneDigitAndTheUnitThatFits) {
  using base::human_bytes;
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1024), "1.0 KiB");
  EXPECT_EQ(human_bytes(13'107'200), "12.5 MiB");
  EXPECT_EQ(human_bytes(5ULL << 30U), "5.0 GiB");
  EXPECT_EQ(human_bytes(std::numeric_limits<std::uint64_t>::max()), "16384.0 PiB");
}

TEST(Bytes, FieldsAreLittleEndianAndMayStandAnywhere) {
  std::vector<std::byte> bytes(9);
  base::store_le<std::uint32_t>(bytes, 3, 0x01020304U);
  EXPECT_EQ(bytes[3], std::byte{4});
  EXPECT_EQ(bytes[6], std::byte{1});
  EXPECT_EQ(base::load_le<std::uint32_t>(bytes, 3), 0x01020304U);
}

TEST(Bytes, ArithmeticThatWouldOverflowSaysSo) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  EXPECT_EQ(base::checked_add(kMost - 1, 1), kMost);
  EXPECT_FALSE(base::checked_add(kMost, 1).has_value());
  EXPECT_EQ(base::checked_mul(1ULL << 32U, 1ULL << 31U), 1ULL << 63U);
  EXPECT_FALSE(base::checked_mul(1ULL << 32U, 1ULL << 32U).has_value());
  EXPECT_EQ(base::ceil_div(kMost, 2), 1ULL << 63U);
  EXPECT_EQ(base::ceil_div(0, 7), 0U);
}

TEST(DTypes, EveryNameFindsItsTypeAgain) {
  std::set<std::string_view> names;
  for (int i = 0; i <= static_cast<int>(DType::c128); ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(dtype_from_name(dtype_name(dtype)), dtype);
    EXPECT_TRUE(std::has_single_bit(dtype_bytes(dtype)));
    names.insert(dtype_name(dtype));
  }
  EXPECT_EQ(names.size(), 20U);
  EXPECT_FALSE(dtype_from_name("f32").has_value());
  EXPECT_FALSE(dtype_from_name("").has_value());
}

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

TEST(UniqueFd, ClosesWhatItOwnsOnce) {
  int first = -1;
  int second = -1;
  {
    base::UniqueFd owner(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    first = owner.get();
    base::UniqueFd taker = std::move(owner);
    EXPECT_FALSE(owner.valid());  // NOLINT(bugprone-use-after-move): what it promises
    EXPECT_EQ(taker.get(), first);
    EXPECT_TRUE(is_open(first));
    second = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    taker.reset(second);
    EXPECT_FALSE(is_open(first));
  }
  EXPECT_FALSE(is_open(second));
  base::UniqueFd kept(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const base::UniqueFd released(kept.release());
  EXPECT_FALSE(kept.valid());
  EXPECT_TRUE(is_open(released.get()));
}

}  // namespace
}  // namespace stillframe
