// Packed files that lie are refused before anything reaches the GPU; what passes runs as the interpreter
// says, inside its own memory.
#include <fmt/format.h>

#include <fstream>

#include "gpu/run_model.hpp"
#include "sprnn/error.hpp"
#include "support/temporary_folder.hpp"

namespace sprnn::test {

namespace {

std::vector<std::byte> file_bytes(const Packed& packed) {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "model.sprnn";
  save_packed(packed, path);
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto* const begin = reinterpret_cast<const std::byte*>(text.data());
  return {begin, begin + text.size()};
}

// Flips bits all over a file. Most flips are refused; of those that are not, `most_run` run on the GPU.
CaseResult flip(const ModelSpec& spec, const Device& device, std::uint64_t seed) {
  constexpr int flips = 400, most_run = 12;
  const Model model = random_model(spec);
  const Inputs inputs = random_inputs(model, 4, 2, 3);
  const auto packed = pack_for(model, device, 2);
  const std::vector<std::byte> bytes = file_bytes(*packed);
  Random random(seed);
  int refused = 0, ran = 0;
  double worst = 0.0;
  for (int i = 0; i < flips; ++i) {
    std::vector<std::byte> changed = bytes;
    const auto at = static_cast<std::size_t>(random.integer(0, static_cast<std::int64_t>(bytes.size()) - 1));
    changed[at] ^= std::byte{1} << random.integer(0, 7);
    std::shared_ptr<const Packed> lying;
    try {
      lying = std::make_shared<const Packed>(parse_packed(changed, "lying.sprnn"));
    } catch (const Error& error) {
      if (error.code() != ErrorCode::format) return {0, 0, fmt::format("byte {}: {}", at, error.what())};
      ++refused;
      continue;
    }
    if (ran == most_run) continue;
    try {
      const auto session = cuda_session(lying, 2);
      const Output found = run_on_device(*session, inputs);
      ++ran;
      const Output expected = interpret(lying, inputs);
      const double error = rel_error(found.y, to_double(expected.y));
      worst = std::max(worst, error);
    } catch (const Error& error) {
      // A plan for another device, or a cell that no GPU has, is refused by name.
      if (error.code() != ErrorCode::unsupported) return {0, 0, fmt::format("byte {}: {}", at, error.what())};
      ++refused;
    }
  }
  if (refused < flips / 4) return {0, 0, fmt::format("only {} of {} flips were refused", refused, flips)};
  return {worst, spec.dtype == DType::fp32 ? 1e-4 : 1e-2, ""};
}

CaseResult bigger_gpu() {
  Device device = test_gpu();
  GpuDescription gpu = device.gpu();
  gpu.sm_count *= 2;
  device = {"twice", gpu};
  const Model model = random_model({.cell = lstm_cell(), .hidden = 2000, .density = 0.05});
  const auto packed = pack_for(model, device, 1, {.groups = 1, .ctas = gpu.sm_count});
  try {
    (void)cuda_session(packed, 1);
  } catch (const Error& error) {
    const bool named =
        error.code() == ErrorCode::unsupported && std::string(error.what()).find("SMs") != std::string::npos;
    return {0, 0, named ? "" : error.what()};
  }
  return {0, 0, "not refused"};
}

CaseResult variants_are_refused() {
  for (const Cell& cell : variant_cells()) {
    const auto packed = pack_for(random_model({.cell = cell}), test_gpu(), 1);
    try {
      (void)cuda_session(packed, 1);
    } catch (const Error& error) {
      if (error.code() == ErrorCode::unsupported &&
          std::string(error.what()).find(to_string(cell)) != std::string::npos)
        continue;
      return {0, 0, error.what()};
    }
    return {0, 0, to_string(cell) + " was not refused"};
  }
  return {};
}

}  // namespace

void add_hostile_cases(std::vector<Case>& cases) {
  for (const DType dtype : {DType::fp16, DType::bf16, DType::fp32}) {
    for (const std::int64_t projection : {0, 7}) {
      const ModelSpec spec{.cell = projection > 0 ? lstm_cell() : gru_cell(),
                           .dtype = dtype,
                           .input = 4,
                           .hidden = 20,
                           .projection = projection,
                           .density = 0.5};
      cases.push_back({"400 flipped bits in a packed file, " + to_string(spec),
                       [spec] { return flip(spec, test_gpu(), 11); }});
    }
  }
  cases.push_back({"a plan for twice as many SMs is refused", bigger_gpu});
  cases.push_back({"cells that the kernel lacks are refused by name", variants_are_refused});
}

}  // namespace sprnn::test
