#include "format/writer_words.hpp"

#include <gtest/gtest.h>

namespace stillframe::format {
namespace {

TEST(WriterWords, SayWhetherTheCaptureWasChecked) {
  EXPECT_EQ(writer_words("stillframe 0.1.0", "", false), "stillframe 0.1.0");
  EXPECT_EQ(writer_words("stillframe 0.1.0", "", true), "stillframe 0.1.0, checked against the device");
  EXPECT_TRUE(says_checked(writer_words("stillframe 0.1.0", "", true)));
  EXPECT_FALSE(says_checked(writer_words("stillframe 0.1.0", "", false)));
  EXPECT_FALSE(says_checked(""));
}

TEST(WriterWords, SayTheLevel) {
  EXPECT_EQ(writer_words("stillframe 0.1.0", "fast", false), "stillframe 0.1.0, level fast");
  const std::string both = writer_words("stillframe 0.1.0", "default", true);
  EXPECT_EQ(both, "stillframe 0.1.0, level default, checked against the device");
  EXPECT_EQ(said_level(both), "default");
  EXPECT_TRUE(says_checked(both));
  EXPECT_EQ(said_level(writer_words("stillframe 0.1.0", "fast", false)), "fast");
  EXPECT_EQ(said_level(writer_words("stillframe 0.1.0", "", true)), "");
  EXPECT_EQ(said_level(""), "");
}

}  // namespace
}  // namespace stillframe::format
