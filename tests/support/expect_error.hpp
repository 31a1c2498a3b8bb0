// EXPECT_ERROR(statement, ErrorCode::x, "part", ...): the statement throws sprnn::Error with this code and a
// message that contains every part.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <string>
#include <string_view>

#include "sprnn/error.hpp"

namespace sprnn::test {

template <class F>
::testing::AssertionResult throws_error(F statement, ErrorCode code,
                                        std::initializer_list<std::string_view> parts) {
  try {
    statement();
  } catch (const Error& error) {
    const std::string_view message = error.what();
    if (error.code() != code) {
      return ::testing::AssertionFailure() << "code " << static_cast<int>(error.code()) << " instead of "
                                           << static_cast<int>(code) << ": " << message;
    }
    for (const std::string_view part : parts) {
      if (message.find(part) == std::string_view::npos) {
        return ::testing::AssertionFailure() << "\"" << part << "\" is not in the message: " << message;
      }
    }
    return ::testing::AssertionSuccess();
  }
  return ::testing::AssertionFailure() << "no error was thrown";
}

}  // namespace sprnn::test

#define EXPECT_ERROR(statement, code, ...) \
  EXPECT_TRUE(::sprnn::test::throws_error([&] { static_cast<void>(statement); }, code, {__VA_ARGS__}))
