// Plan, pack and run: for every problem drawn from the bytes, each engine agrees with the reference.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "sprnn/engine.hpp"
#include "sprnn/error.hpp"
#include "sprnn/verify.hpp"
#include "support/random_model.hpp"

namespace {

// The fuzzer's bytes, one after the other; zeros when they run out.
class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
  std::int64_t below(std::int64_t end) {
    const std::int64_t byte = at_ < size_ ? data_[at_++] : 0;
    return byte % end;
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
  std::size_t at_ = 0;
};

sprnn::test::ModelSpec draw_spec(Bytes& bytes) {
  using namespace sprnn;
  const std::vector<Cell> cells = test::standard_cells();
  test::ModelSpec spec;
  spec.cell = cells[static_cast<std::size_t>(bytes.below(static_cast<std::int64_t>(cells.size())))];
  spec.dtype = static_cast<DType>(bytes.below(3));
  // Small, so that a minute tries many: ragged groups and lanes need no more.
  spec.input = 1 + bytes.below(40);
  spec.hidden = 1 + bytes.below(50);
  if (spec.cell.kind == CellKind::lstm && spec.hidden > 1) spec.projection = bytes.below(spec.hidden);
  spec.layers = 1 + bytes.below(2);
  spec.directions = static_cast<test::Directions>(bytes.below(3));
  spec.bias = bytes.below(2) == 1;
  spec.density = static_cast<double>(bytes.below(101)) / 100.0;
  spec.mask = static_cast<test::Mask>(bytes.below(7));
  spec.seed = static_cast<std::uint64_t>(bytes.below(256));
  return spec;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sprnn;
  Bytes bytes(data, size);
  test::ModelSpec spec = draw_spec(bytes);
  const int batch = static_cast<int>(1 + bytes.below(18));
  const char* const target = bytes.below(2) == 0 ? "cpu" : "h100";
  PlanOptions options;
  const bool has_fragments = spec.dtype != DType::fp32 && spec.projection == 0;
  if (target == std::string_view("h100") && has_fragments)
    options.gpu.strategy = static_cast<GpuStrategy>(bytes.below(4));
  if (options.gpu.strategy == GpuStrategy::sparse_mma && bytes.below(2) == 0)
    spec.mask = test::Mask::two_of_four;
  const Model model = test::random_model(spec);
  const Plan plan = make_plan(describe(model, batch), find_device(target), options);
  const auto packed = std::make_shared<const Packed>(pack(model, plan));
  validate(*packed);
  if (!(unpack(*packed) == model)) std::abort();
  const VerifyResult result = verify(packed, {.engine = "auto", .batch = batch, .steps = 5, .threads = 1});
  if (!result.passed) {
    std::fprintf(stderr, "%s, batch %d, %s: error %g, bound %g\n", test::to_string(spec).c_str(), batch,
                 result.engine.c_str(), result.rel_error, result.bound);
    std::abort();
  }
  return 0;
}
