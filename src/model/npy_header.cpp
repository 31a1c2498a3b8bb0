#include "model/npy_header.hpp"

#include <fmt/format.h>

#include <charconv>
#include <utility>

#include "base/quote.hpp"
#include "sprnn/error.hpp"

namespace sprnn::npy {

namespace {

constexpr std::size_t max_rank = 64;  // NumPy's own limit

// Understands what NumPy writes and no more: three keys, strings without escapes, True and False, and a
// tuple of non-negative integers.
class Parser {
 public:
  Parser(std::string_view text, const std::string& file) : text_(text), file_(file) {}

  Header parse() {
    Header header;
    bool has_descr = false;
    bool has_order = false;
    bool has_shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string key = string("a key");
      expect(':');
      const auto once = [&](bool& seen) {
        if (std::exchange(seen, true)) fail(fmt::format("{} occurs twice", quote(key)));
      };
      if (key == "descr") {
        once(has_descr);
        if (peek() == '[') fail("is a structured array; expected plain numbers");
        header.descr = string("a dtype such as '<f4'");
      } else if (key == "fortran_order") {
        once(has_order);
        header.fortran_order = boolean();
      } else if (key == "shape") {
        once(has_shape);
        header.shape = tuple();
      } else {
        fail(fmt::format("unknown key {}; expected 'descr', 'fortran_order' and 'shape'", quote(key)));
      }
      if (!accept(',') && peek() != '}') fail(fmt::format("expected ',' or '}}' at byte {}", position_));
    }
    skip_space();
    if (position_ != text_.size())
      fail(fmt::format("something follows the dictionary, at byte {}", position_));
    if (!has_descr || !has_order || !has_shape) {
      fail(fmt::format("{} is missing", !has_descr ? "'descr'" : !has_order ? "'fortran_order'" : "'shape'"));
    }
    return header;
  }

 private:
  void skip_space() {
    while (position_ < text_.size() && (text_[position_] == ' ' || text_[position_] == '\n')) ++position_;
  }

  char peek() {
    skip_space();
    return position_ < text_.size() ? text_[position_] : '\0';
  }

  bool accept(char c) {
    if (peek() != c) return false;
    ++position_;
    return true;
  }

  void expect(char c) {
    if (!accept(c)) fail(fmt::format("expected '{}' at byte {}", c, position_));
  }

  bool accept_word(std::string_view word) {
    skip_space();
    if (!text_.substr(position_).starts_with(word)) return false;
    position_ += word.size();
    return true;
  }

  std::string string(std::string_view what) {
    const char mark = peek();
    const std::size_t end =
        mark == '\'' || mark == '"' ? text_.find(mark, position_ + 1) : std::string_view::npos;
    if (end == std::string_view::npos) fail(fmt::format("expected {} in quotes at byte {}", what, position_));
    const std::string_view content = text_.substr(position_ + 1, end - position_ - 1);
    if (content.find('\\') != std::string_view::npos) fail(fmt::format("an escape in {}", quote(content)));
    position_ = end + 1;
    return std::string(content);
  }

  bool boolean() {
    if (accept_word("True")) return true;
    if (accept_word("False")) return false;
    fail(fmt::format("'fortran_order': expected True or False at byte {}", position_));
  }

  std::vector<std::int64_t> tuple() {
    std::vector<std::int64_t> items;
    expect('(');
    bool has_comma = true;
    while (!accept(')')) {
      if (!has_comma) fail(fmt::format("'shape': expected ',' or ')' at byte {}", position_));
      if (items.size() == max_rank) fail(fmt::format("'shape' has more than {} dimensions", max_rank));
      items.push_back(integer());
      has_comma = accept(',');
    }
    if (items.size() == 1 && !has_comma)
      fail("'shape' is a number in parentheses; expected a tuple such as (5,)");
    return items;
  }

  std::int64_t integer() {
    skip_space();
    const std::string_view rest = text_.substr(position_);
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
    if (error == std::errc::result_out_of_range)
      fail(fmt::format("'shape': the number at byte {} is too large", position_));
    if (error != std::errc{} || value < 0) {
      fail(fmt::format("'shape': expected a non-negative integer at byte {}", position_));
    }
    position_ += static_cast<std::size_t>(end - rest.data());
    if (position_ < text_.size() && text_[position_] == 'L') ++position_;  // as Python 2 wrote them
    return value;
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCode::format, fmt::format("{}: .npy header: {}", quote(file_), what));
  }

  std::string_view text_;
  const std::string& file_;
  std::size_t position_ = 0;
};

}  // namespace

Header parse_header(std::string_view text, const std::string& file) { return Parser(text, file).parse(); }

}  // namespace sprnn::npy
