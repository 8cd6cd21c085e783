#include "format/writer_words.hpp"

#include <gtest/gtest.h>

namespace stillframe::format {
namespace {

TEST(WriterWords, SayWhetherTheCaptureWasChecked) {
  EXPECT_EQ(writer_words("stillframe 0.1.0", false), "stillframe 0.1.0");
  EXPECT_EQ(writer_words("stillframe 0.1.0", true), "stillframe 0.1.0, checked against the device");
  EXPECT_TRUE(says_checked(writer_words("stillframe 0.1.0", true)));
  EXPECT_FALSE(says_checked(writer_words("stillframe 0.1.0", false)));
  EXPECT_FALSE(says_checked(""));
}

}  // namespace
}  // namespace stillframe::format
