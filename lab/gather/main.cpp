// Packs a random layer, runs kernel.cu on the packed bytes, holds it against the float64 reference and times
// it.
//   lab_gather CELL HIDDEN BATCH DENSITY [key=value ...]
// keys: groups ctas warps lanes wait opaque (wishes to the planner); late_y=0; no_product no_projection no_y
// (leave a part out: the answer is then wrong, the time tells what the part costs); compile=1 (stop after
// compiling).
#include <cuda.h>
#include <fmt/format.h>
#include <nvrtc.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "engines/reference/reference.hpp"
#include "pack/gather_view.hpp"
#include "sprnn/sprnn.hpp"

using namespace sprnn;

namespace {

constexpr std::int64_t checked_steps = 16;
constexpr std::int64_t short_steps = 256;
constexpr std::int64_t long_steps = 1280;

void check(CUresult result) {
  if (result == CUDA_SUCCESS) return;
  const char* text = nullptr;
  cuGetErrorString(result, &text);
  throw std::runtime_error(text == nullptr ? "CUDA" : text);
}

using Options = std::map<std::string, int>;

struct Case {
  std::string cell;
  std::int64_t hidden = 0;
  int batch = 1;
  double density = 1.0;
  Options options;

  [[nodiscard]] bool flag(const char* key, bool otherwise = false) const {
    const auto found = options.find(key);
    return found == options.end() ? otherwise : found->second != 0;
  }
};

Case parse(int argc, char** argv) {
  if (argc < 5) throw std::runtime_error("usage: lab_gather CELL HIDDEN BATCH DENSITY [key=value ...]");
  Case c{argv[1], std::stoll(argv[2]), std::stoi(argv[3]), std::stod(argv[4]), {}};
  for (int i = 5; i < argc; ++i) {
    const std::string argument = argv[i];
    c.options[argument.substr(0, argument.find('='))] = std::stoi(argument.substr(argument.find('=') + 1));
  }
  return c;
}

class Uniform {
 public:
  float operator()() { return static_cast<float>(static_cast<double>(bits_() >> 11) * 0x1p-52 - 1.0); }

 private:
  std::mt19937_64 bits_{7};
};

// One number a timestep as input, so that the input projection is cheap to make on the host.
Model make_model(const Case& c, Uniform& uniform) {
  Direction d;
  d.cell = parse_cell(c.cell);
  const std::int64_t rows = d.cell.gates() * c.hidden;
  const auto rounded = [](float value) { return round_to(DType::fp16, value); };
  d.w_ih = {rows, 1, std::vector<float>(rows)};
  d.w_hh = {rows, c.hidden, std::vector<float>(rows * c.hidden)};
  d.b_ih.assign(rows, 0.0F);
  d.b_hh.assign(rows, 0.0F);
  const float scale = 1.0F / std::sqrt(static_cast<float>(c.density * static_cast<double>(c.hidden)));
  for (float& v : d.w_ih.values) v = rounded(0.5F * uniform());
  for (float& v : d.w_hh.values) v = (uniform() + 1) / 2 < c.density ? rounded(scale * uniform()) : 0.0F;
  for (float& v : d.b_hh) v = rounded(0.1F * uniform());
  Model model;
  model.dtype = DType::fp16;
  model.input_size = 1;
  model.hidden_size = c.hidden;
  model.layers = {{{d}}};
  return model;
}

PlanOptions wishes_of(const Case& c) {
  PlanOptions wishes;
  const auto wish = [&](const char* key, std::optional<int>& field) {
    if (const auto found = c.options.find(key); found != c.options.end()) field = found->second;
  };
  wish("groups", wishes.gpu.groups);
  wish("ctas", wishes.gpu.ctas);
  wish("warps", wishes.gpu.warps);
  wish("lanes", wishes.gpu.lanes);
  wish("wait", wishes.gpu.poll_wait_cycles);
  if (c.options.count("opaque") != 0) wishes.gpu.opaque_pairs = c.flag("opaque");
  return wishes;
}

// The packed layer and everything that the kernel's constants and arrays are made of.
struct Layer {
  Model model;
  Plan plan;
  Packed packed;
  GatherPlan gather;
  sprnn::gather::View view;

  Layer(const Case& c, Uniform& uniform)
      : model(make_model(c, uniform)),
        plan(make_plan(describe(model, c.batch), find_device("h100"), wishes_of(c))),
        packed(pack(model, plan)),
        gather(std::get<GatherPlan>(plan.directions[0].choice)),
        view(sprnn::gather::make_view(packed.directions[0].sections, gather, packed.plan.problem,
                                      packed.plan.problem.directions[0])) {
    if (view.w_hh.layout.image.planes != 1 || gather.passes != 1) {
      throw std::runtime_error("this rung runs a batch that fits one word of each group, in one pass");
    }
  }

  [[nodiscard]] int gates() const { return view.w_hh.layout.gates; }
  [[nodiscard]] int threads() const { return 32 * gather.warps; }
  [[nodiscard]] int entries() const {
    return gather.w_hh.units_a_cta * gather.group_batch;
  }  // of a CTA's slice
  [[nodiscard]] std::size_t ring_bytes() const {
    return std::size_t{16} * gather.groups * gather.ctas * ((entries() + 7) / 8 * 2);
  }
  [[nodiscard]] static int quads(int slots) { return (slots + 3) / 4; }
  [[nodiscard]] static std::int64_t aligned(std::int64_t bytes) { return (bytes + 127) / 128 * 128; }
  [[nodiscard]] std::int64_t image_bytes() const { return aligned(view.w_hh.layout.image.bytes()); }
  [[nodiscard]] std::int64_t pairs_at() const {
    return aligned(image_bytes() + 4LL * view.w_hh.layout.rows_a_cta() * gather.group_batch);
  }
  // More than half of an SM's shared memory, so that a CTA has its SM for itself.
  [[nodiscard]] std::int64_t shared_bytes() const {
    return std::max<std::int64_t>(120 * 1024,
                                  pairs_at() + 16LL * quads(view.w_hh.layout.slots[1]) * threads());
  }
};

std::string constants(const Layer& layer, const Case& c) {
  const auto& m = layer.view.w_hh.layout;
  const GatherPlan& g = layer.gather;
  std::string text = fmt::format("#define POLL_WAIT {}\n#define OPAQUE {:d}\n#define LATE_Y {:d}\n",
                                 g.poll_wait_cycles, g.opaque_pairs, c.flag("late_y", true));
  const auto constant = [&](const char* name, std::int64_t value) {
    text += fmt::format("constexpr int {} = {};\n", name, value);
  };
  constant("WITHOUT_PRODUCT", c.flag("no_product"));
  constant("WITHOUT_PROJECTION", c.flag("no_projection"));
  constant("WITHOUT_Y", c.flag("no_y"));
  constant("GATES", layer.gates());
  constant("HIDDEN", c.hidden);
  constant("GROUPS", g.groups);
  constant("CTAS", g.ctas);
  constant("GROUP_BATCH", g.group_batch);
  constant("THREADS", layer.threads());
  constant("UNITS_A_CTA", g.w_hh.units_a_cta);
  constant("LANES", m.lanes);
  constant("WORD_BYTES", m.image.word_bytes);
  constant("OFFSET_UNIT", m.offset_unit);
  constant("PASSES", std::ssize(m.passes));
  constant("REGISTER_SLOTS", m.slots[0]);
  constant("SHARED_QUADS", Layer::quads(m.slots[1]));
  constant("L2_QUADS", Layer::quads(m.slots[2]));
  constant("IMAGE_BYTES", layer.image_bytes());
  constant("PAIRS_AT", layer.pairs_at());
  const auto table = [&](const char* name, auto&& value) {
    std::vector<int> values;
    for (std::size_t p = 0; p < m.passes.size(); ++p) values.push_back(value(p));
    text += fmt::format("constexpr int {}[] = {{{}}};\n", name, fmt::join(values, ", "));
  };
  table("REGISTER_COUNT", [&](std::size_t p) { return m.passes[p].registers; });
  table("REGISTER_FIRST", [&](std::size_t p) { return m.first[p][0]; });
  table("SHARED_COUNT", [&](std::size_t p) { return Layer::quads(m.passes[p].shared); });
  table("SHARED_FIRST", [&](std::size_t p) { return m.first[p][1] / 4; });
  table("L2_COUNT", [&](std::size_t p) { return Layer::quads(m.passes[p].l2); });
  table("L2_FIRST", [&](std::size_t p) { return m.first[p][2] / 4; });
  return text;
}

struct Compiled {
  std::string cubin;
  std::string resources;  // what ptxas says of registers and spills
};

Compiled compile(const std::string& source) {
  nvrtcProgram program = nullptr;
  nvrtcCreateProgram(&program, source.c_str(), "kernel.cu", 0, nullptr, nullptr);
  const char* flags[] = {"--gpu-architecture=sm_90", "--std=c++17", "-default-device", "--ptxas-options=-v"};
  const nvrtcResult result = nvrtcCompileProgram(program, 4, flags);
  std::size_t size = 0;
  nvrtcGetProgramLogSize(program, &size);
  std::string log(size, '\0');
  nvrtcGetProgramLog(program, log.data());
  if (result != NVRTC_SUCCESS) throw std::runtime_error(log);
  Compiled compiled;
  nvrtcGetCUBINSize(program, &size);
  compiled.cubin.resize(size);
  nvrtcGetCUBIN(program, compiled.cubin.data());
  nvrtcDestroyProgram(&program);
  if (const auto used = log.find("Used "); used != std::string::npos) {
    compiled.resources = log.substr(used + 5, log.find(',', used) - used - 5);
  }
  if (const auto spill = log.find(" bytes spill stores"); spill != std::string::npos) {
    const auto begin = log.rfind(' ', spill - 1) + 1;
    compiled.resources += fmt::format(", {} bytes spilled", log.substr(begin, spill - begin));
  }
  return compiled;
}

// W_ih x + biases in the kernel's order: [step][group][cta][unit][batch entry][gate].
std::vector<float> projection_of(const Layer& layer, const std::vector<float>& x, int batch) {
  const Direction& d = layer.model.layers[0].directions[0];
  const GatherPlan& g = layer.gather;
  const std::int64_t hidden = layer.model.hidden_size;
  std::vector<float> out(static_cast<std::size_t>(long_steps) * g.groups * g.ctas * layer.entries() *
                         layer.gates());
  float* to = out.data();
  for (std::int64_t t = 0; t < long_steps; ++t) {
    for (int group = 0; group < g.groups; ++group) {
      for (int position = 0; position < g.ctas * g.w_hh.units_a_cta; ++position) {
        const int unit = layer.view.w_hh.units[position];
        for (int b = 0; b < g.group_batch; ++b) {
          const int entry = group * g.group_batch + b;
          for (int gate = 0; gate < layer.gates(); ++gate, ++to) {
            if (unit < 0 || entry >= batch) continue;
            const std::int64_t row = gate * hidden + unit;
            const bool added_later = layer.gates() == 3 && gate == 2;  // a gru's b_hn is scaled by r
            *to = d.w_ih.values[row] * x[t * batch + entry] + (added_later ? 0.0F : d.b_hh[row]);
          }
        }
      }
    }
  }
  return out;
}

// A gru's b_hn in the order of the units.
std::vector<float> bias_of(const Layer& layer) {
  const std::int64_t hidden = layer.model.hidden_size;
  std::vector<float> out(static_cast<std::size_t>(layer.gather.ctas) * layer.gather.w_hh.units_a_cta);
  for (std::size_t i = 0; i < out.size() && layer.gates() == 3; ++i) {
    const int unit = layer.view.w_hh.units[i];
    if (unit >= 0) out[i] = layer.model.layers[0].directions[0].b_hh[2 * hidden + unit];
  }
  return out;
}

class Gpu {
 public:
  Gpu(const Layer& layer, const Compiled& compiled, const std::vector<float>& projection) : layer_(layer) {
    check(cuInit(0));
    CUdevice device = 0;
    check(cuDeviceGet(&device, 0));
    CUcontext context = nullptr;
    check(cuDevicePrimaryCtxRetain(&context, device));
    check(cuCtxSetCurrent(context));
    CUmodule module = nullptr;
    check(cuModuleLoadData(&module, compiled.cubin.data()));
    check(cuModuleGetFunction(&kernel_, module, "gather_step"));
    check(cuFuncSetAttribute(kernel_, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                             static_cast<int>(layer.shared_bytes())));
    check(cuStreamCreate(&stream_, CU_STREAM_NON_BLOCKING));
    check(cuEventCreate(&begin_, 0));
    check(cuEventCreate(&end_, 0));
    y_values_ = static_cast<std::size_t>(long_steps) * layer.gather.groups * layer.gather.group_batch *
                layer.model.hidden_size;
    const auto section = [&](const char* name) {
      const Section& s = layer.packed.directions[0].section(name);
      return upload(s.data(), s.size());
    };
    const std::vector<float> bias = bias_of(layer);
    arguments_ = {section("w_hh.registers"),
                  section("w_hh.shared"),
                  section("w_hh.l2"),
                  section("w_hh.row_map"),
                  section("unit_map"),
                  upload(projection.data(), 4 * projection.size()),
                  upload(bias.data(), 4 * bias.size()),
                  upload(nullptr, 2 * y_values_),
                  upload(nullptr, layer.ring_bytes()),
                  upload(nullptr, 4),
                  0};
  }

  // Microseconds from the reset of the ring to the end of the kernel.
  double run(long long steps) {
    arguments_.steps = steps;
    void* parameters[] = {&arguments_};
    CUlaunchAttribute attribute{};
    attribute.id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
    attribute.value.cooperative = 1;
    CUlaunchConfig config{};
    config.gridDimX = static_cast<unsigned>(layer_.gather.groups * layer_.gather.ctas);
    config.blockDimX = static_cast<unsigned>(layer_.threads());
    config.gridDimY = config.gridDimZ = config.blockDimY = config.blockDimZ = 1;
    config.sharedMemBytes = static_cast<unsigned>(layer_.shared_bytes());
    config.hStream = stream_;
    config.attrs = &attribute;
    config.numAttrs = 1;
    check(cuEventRecord(begin_, stream_));
    check(cuMemsetD8Async(arguments_.ring, 0, layer_.ring_bytes(), stream_));
    check(cuLaunchKernelEx(&config, kernel_, parameters, nullptr));
    check(cuEventRecord(end_, stream_));
    check(cuStreamSynchronize(stream_));
    float milliseconds = 0;
    check(cuEventElapsedTime(&milliseconds, begin_, end_));
    return 1000.0 * milliseconds;
  }

  void poison_y() { check(cuMemsetD8(arguments_.y, 0xFF, 2 * y_values_)); }
  std::vector<std::uint16_t> y() const {
    std::vector<std::uint16_t> values(y_values_);
    check(cuMemcpyDtoH(values.data(), arguments_.y, 2 * y_values_));
    return values;
  }
  std::uint32_t status() const {
    std::uint32_t value = 0;
    check(cuMemcpyDtoH(&value, arguments_.status, 4));
    return value;
  }

 private:
  // Device memory for `bytes`, a copy of `from` or zeros.
  static CUdeviceptr upload(const void* from, std::size_t bytes) {
    CUdeviceptr to = 0;
    check(cuMemAlloc(&to, std::max<std::size_t>(bytes, 16)));
    if (bytes > 0) check(from == nullptr ? cuMemsetD8(to, 0, bytes) : cuMemcpyHtoD(to, from, bytes));
    return to;
  }

  struct Arguments {  // as in kernel.cu
    CUdeviceptr registers, shared, l2, row_map, unit_map, projection, bias, y, ring, status;
    long long steps;
  };

  const Layer& layer_;
  CUfunction kernel_ = nullptr;
  CUstream stream_ = nullptr;
  CUevent begin_ = nullptr, end_ = nullptr;
  Arguments arguments_{};
  std::size_t y_values_ = 0;
};

double error_of(const Layer& layer, const std::vector<std::uint16_t>& y, const std::vector<float>& x,
                int batch) {
  const std::vector<double> exact_x(x.begin(), x.end());
  const reference::Output exact =
      reference::run(layer.model, checked_steps, batch, exact_x.data(), nullptr, {}, 8);
  const std::int64_t hidden = layer.model.hidden_size;
  const std::int64_t planned = std::int64_t{layer.gather.groups} * layer.gather.group_batch;
  double difference = 0, norm = 0;
  for (std::int64_t t = 0; t < checked_steps; ++t) {
    for (std::int64_t i = 0; i < batch * hidden; ++i) {
      const double ref = exact.y[t * batch * hidden + i];
      const double out = from_bits(DType::fp16, y[t * planned * hidden + i]);
      difference += (out - ref) * (out - ref);
      norm += ref * ref;
    }
  }
  return std::sqrt(difference / norm);
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + std::ssize(values) / 2, values.end());
  return values[values.size() / 2];
}

std::string describe_plan(const Layer& layer, const Case& c) {
  const auto& m = layer.view.w_hh.layout;
  std::string text = fmt::format(
      "{} {} B={} {:g} %: {} x {} CTAs, {} warps, {} lanes a row, {} passes, slots {}+{}+{}, wait {}", c.cell,
      c.hidden, c.batch, 100 * c.density, layer.gather.groups, layer.gather.ctas, layer.gather.warps, m.lanes,
      m.passes.size(), m.slots[0], m.slots[1], m.slots[2], layer.gather.poll_wait_cycles);
  for (const auto& [key, value] : c.options) text += fmt::format(" {}={}", key, value);
  return text;
}

bool run(const Case& c) {
  Uniform uniform;
  const Layer layer(c, uniform);
  std::ifstream file(SPRNN_LAB_KERNEL);
  const std::string kernel{std::istreambuf_iterator<char>(file), {}};
  const Compiled compiled = compile(constants(layer, c) + kernel);
  fmt::print("{} | {}", describe_plan(layer, c), compiled.resources);
  if (c.flag("compile")) {
    fmt::print("\n");
    return true;
  }
  std::vector<float> x(static_cast<std::size_t>(long_steps) * c.batch);
  for (float& v : x) v = round_to(DType::fp16, uniform());
  Gpu gpu(layer, compiled, projection_of(layer, x, c.batch));

  gpu.poison_y();
  gpu.run(long_steps);
  const std::vector<std::uint16_t> y = gpu.y();
  const double error = error_of(layer, y, x, c.batch);
  const bool written = std::count(y.begin(), y.end(), 0xFFFF) == 0;
  std::vector<double> shorts, longs;
  for (int i = 0; i < 9; ++i) {
    shorts.push_back(gpu.run(short_steps));
    longs.push_back(gpu.run(long_steps));
  }
  const bool repeatable = gpu.y() == y;
  const double slope = (median(longs) - median(shorts)) / static_cast<double>(long_steps - short_steps);
  double predicted = 0;
  for (const CostPart& part : layer.plan.directions[0].cost) {
    if (part.name != "input projection") predicted += part.microseconds;
  }
  const bool right = error <= 2e-3 && written && repeatable && gpu.status() == 0;
  fmt::print(" | {:.3f} us a step (planned {:.2f}) + {:.0f} us | error {:.1e}{}\n", slope, predicted,
             median(shorts) - slope * static_cast<double>(short_steps), error, right ? "" : " WRONG");
  return right;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(parse(argc, argv)) ? 0 : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "lab_gather: {}\n", error.what());
    return 2;
  }
}
