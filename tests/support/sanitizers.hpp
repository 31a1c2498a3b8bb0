// Which sanitizers a test is built with, and how much of what is drawn at random is left to do under one.
#pragma once

namespace sprnn::test {

#if defined(__has_feature)
#define SPRNN_HAS_FEATURE(feature) __has_feature(feature)
#else
#define SPRNN_HAS_FEATURE(feature) 0
#endif
#if defined(__SANITIZE_THREAD__) || SPRNN_HAS_FEATURE(thread_sanitizer)
inline constexpr bool thread_sanitizer = true;
#else
inline constexpr bool thread_sanitizer = false;
#endif
#if defined(__SANITIZE_ADDRESS__) || SPRNN_HAS_FEATURE(address_sanitizer)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = thread_sanitizer;
#endif
#undef SPRNN_HAS_FEATURE

// Of so many draws, or steps of a size. Under a sanitizer all of it takes five times as long, and what one
// finds, a fault of memory or of arithmetic on integers, hardly depends on the values: the release build has
// them all.
[[nodiscard]] constexpr int scaled(int count) noexcept { return sanitized ? (count + 3) / 4 : count; }

}  // namespace sprnn::test
