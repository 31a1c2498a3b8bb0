#include "base/quote.hpp"

#include <gtest/gtest.h>

namespace sprnn {
namespace {

TEST(Quote, KeepsText) {
  EXPECT_EQ(quote("encoder.weight_ih_l0"), "'encoder.weight_ih_l0'");
  EXPECT_EQ(quote(""), "''");
  EXPECT_EQ(quote("\u00e9\u4e2d\U0001F600"), "'\u00e9\u4e2d\U0001F600'");
}

TEST(Quote, EscapesControlCharacters) {
  EXPECT_EQ(quote(std::string_view("a\x1b[2J\n\0\x7f", 8)), "'a\\x1b[2J\\x0a\\x00\\x7f'");
  EXPECT_EQ(quote("\xc2\x9b"), "'\\xc2\\x9b'");  // C1: a terminal may read it as ESC [
}

TEST(Quote, EscapesWhatIsNotUtf8) {
  EXPECT_EQ(quote("\xff"), "'\\xff'");
  EXPECT_EQ(quote("\xc3"), "'\\xc3'");
  EXPECT_EQ(quote("\xc0\x80"), "'\\xc0\\x80'");                    // overlong
  EXPECT_EQ(quote("\xed\xa0\x80"), "'\\xed\\xa0\\x80'");           // a surrogate
  EXPECT_EQ(quote("\xf4\x90\x80\x80"), "'\\xf4\\x90\\x80\\x80'");  // beyond U+10FFFF
}

TEST(Quote, FindsTheFirstByteThatIsNotUtf8) {
  EXPECT_EQ(utf8_length(""), 0U);
  EXPECT_EQ(utf8_length("a\xc3\xa4z"), 4U);
  EXPECT_EQ(utf8_length("ab\xffz"), 2U);
  EXPECT_EQ(utf8_length("ab\xc3"), 2U);
}

TEST(Quote, CutsLongText) {
  std::string long_text(10'000, 'a');
  long_text += "end";
  const std::string text = quote(long_text);
  EXPECT_LT(text.size(), 220U);
  EXPECT_TRUE(text.ends_with("end'"));
  EXPECT_NE(text.find("aaa...aaa"), std::string::npos);
}

}  // namespace
}  // namespace sprnn
