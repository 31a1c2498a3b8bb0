// Every allocation of every step fails once: each time the C interface must say so, leave its arguments as
// they were, leak nothing (the address sanitizer looks) and leave no half-written file.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <new>

#include "sprnn/prune.hpp"
#include "sprnn/sprnn.h"
#include "support/checkpoint_of.hpp"
#include "support/random_model.hpp"
#include "support/temporary_folder.hpp"

namespace {

thread_local long allocations_left = -1;        // the one that counts down to 0 fails; negative: none does
thread_local std::size_t smallest_counted = 1;  // bytes; smaller ones neither count nor fail

void* allocate(std::size_t size, std::size_t alignment) {
  if (size >= smallest_counted && allocations_left > 0 && --allocations_left == 0) throw std::bad_alloc();
  void* const p = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment + alignment);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

}  // namespace

void* operator new(std::size_t size) { return allocate(size, alignof(std::max_align_t)); }
void* operator new[](std::size_t size) { return allocate(size, alignof(std::max_align_t)); }
void* operator new(std::size_t size, std::align_val_t align) {
  return allocate(size, static_cast<std::size_t>(align));
}
void* operator new[](std::size_t size, std::align_val_t align) {
  return allocate(size, static_cast<std::size_t>(align));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  try {
    return operator new(size);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void* operator new[](std::size_t size, const std::nothrow_t& tag) noexcept { return operator new(size, tag); }
// Not inlined, for then g++ 12 takes free() for a mismatch with new and warns.
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

namespace sprnn {
namespace {

// Calls with the first allocation failing, then with the second, ... until no more is needed. Some failures
// are survived (a sort then does without its buffer): undo() then takes the success back.
template <class Call, class Undo, class Check>
void exhaust(const char* what, Call call, Undo undo, Check after_failure) {
  int failures = 0;
  for (long n = 1; n < 100000; ++n) {
    allocations_left = n;
    const int status = call();
    const bool was_short = allocations_left == 0;
    allocations_left = -1;
    if (status == SPRNN_OK) {
      if (was_short) {
        undo();
        continue;
      }
      EXPECT_GT(failures, 0) << what << " allocates nothing: what is tested here?";
      return;
    }
    ASSERT_EQ(status, SPRNN_OUT_OF_MEMORY) << what << ", allocation " << n << ": " << sprnn_last_error();
    ASSERT_STRNE(sprnn_last_error(), "");
    after_failure();
    ++failures;
  }
  FAIL() << what << " never comes to an end";
}

TEST(OutOfMemory, is_an_error_wherever_it_happens) {
  const test::TemporaryFolder folder;
  test::ModelSpec spec;
  spec.cell = lstm_cell();
  const Model original = test::random_model(spec);
  const std::string path = (folder / "model.safetensors").string(),
                    packed_path = (folder / "model.sprnn").string();
  save_checkpoint(test::checkpoint_of(original), path);

  sprnn_model* model = nullptr;
  exhaust(
      "load", [&] { return sprnn_model_load(path.c_str(), nullptr, "lstm", "fp32", &model); },
      [&] { sprnn_model_destroy(model); }, [&] { ASSERT_EQ(model, nullptr); });

  const double density = 0.5;
  exhaust(
      "prune", [&] { return sprnn_model_prune(model, "block:4x1", &density, 1, &density, 1); }, [] {},
      [&] {
        sprnn_prune_report report;
        ASSERT_EQ(sprnn_model_prune_report(model, 0, &report), SPRNN_INVALID_ARGUMENT);
      });

  Model pruned = original;
  (void)prune(pruned, {.pattern = parse_pattern("block:4x1"), .density = density, .input_density = density});
  exhaust(
      "save", [&] { return sprnn_model_save(model, path.c_str()); },
      [&] { save_checkpoint(test::checkpoint_of(original), path); },
      [&] {
        ASSERT_EQ(folder.names().size(), 1U);
        const Model now = read_model(load_checkpoint(path));  // the old file or the new one, whole
        ASSERT_TRUE(now == original || now == pruned);
        save_checkpoint(test::checkpoint_of(original), path);
      });
  EXPECT_TRUE(read_model(load_checkpoint(path)) == pruned);

  sprnn_packed* packed = nullptr;
  exhaust(
      "pack", [&] { return sprnn_pack(model, "cpu", 1, &packed); }, [&] { sprnn_packed_destroy(packed); },
      [&] { ASSERT_EQ(packed, nullptr); });
  // The description in a .sprnn file is JSON, and nlohmann's destructor allocates, so that it cannot survive
  // the lack of a few bytes; of a block that weights could have, it can.
  smallest_counted = 4000;
  exhaust(
      "save packed", [&] { return sprnn_packed_save(packed, packed_path.c_str()); },
      [&] { std::filesystem::remove(packed_path); }, [&] { ASSERT_EQ(folder.names().size(), 1U); });
  sprnn_packed* loaded = nullptr;
  exhaust(
      "load packed", [&] { return sprnn_packed_load(packed_path.c_str(), &loaded); },
      [&] { sprnn_packed_destroy(loaded); }, [&] { ASSERT_EQ(loaded, nullptr); });
  smallest_counted = 1;
  sprnn_session* session = nullptr;
  exhaust(
      "session", [&] { return sprnn_session_create(loaded, nullptr, 2, 2, nullptr, &session); },
      [&] { sprnn_session_destroy(session); }, [&] { ASSERT_EQ(session, nullptr); });

  sprnn_session_destroy(session);
  sprnn_packed_destroy(loaded);
  sprnn_packed_destroy(packed);
  sprnn_model_destroy(model);
}

}  // namespace
}  // namespace sprnn
