// oneDNN's rnn primitives (vanilla_rnn, lbr_gru, lstm) as it documents their best use: the primitive and the
// weights, in the layout that it asks for, are made once; a run is one execute of all steps.
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <oneapi/dnnl/dnnl.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <unordered_map>
#include <utility>

#include "bench/peers/peer.hpp"
#include "sprnn/error.hpp"

namespace sprnn::bench {
namespace {

using dnnl::memory;
using Tag = memory::format_tag;
using Arguments = std::unordered_map<int, memory>;

memory::data_type to_onednn(DType dtype) {
  return dtype == DType::bf16 ? memory::data_type::bf16 : memory::data_type::f32;
}

// oneDNN's order of the gates: u r o for our r z n.
std::vector<int> gate_order(CellKind kind) {
  return kind == CellKind::lstm  ? std::vector{0, 1, 2, 3}
         : kind == CellKind::gru ? std::vector{1, 0, 2}
                                 : std::vector{0};
}

void append_gates(std::vector<float>& out, const Matrix& matrix, CellKind kind) {
  const auto order = gate_order(kind);
  const std::int64_t gate = matrix.rows / static_cast<std::int64_t>(order.size());
  for (const int g : order)
    out.insert(out.end(), matrix.row(g * gate), matrix.row(g * gate) + gate * matrix.cols);
}

// One bias a gate, ours added up; lbr_gru has a fourth, since b_hn is multiplied by the reset gate.
void append_bias(std::vector<float>& out, const Direction& direction) {
  const CellKind kind = direction.cell.kind;
  const std::int64_t hidden = direction.w_hh.rows / direction.cell.gates();
  const auto at = [](const std::vector<float>& bias, std::int64_t i) {
    return bias.empty() ? 0.0F : bias[i];
  };
  for (const int g : gate_order(kind)) {
    const bool apart = kind == CellKind::gru && g == 2;
    for (std::int64_t i = g * hidden; i < (g + 1) * hidden; ++i) {
      out.push_back(at(direction.b_ih, i) + (apart ? 0.0F : at(direction.b_hh, i)));
    }
  }
  if (kind != CellKind::gru) return;
  for (std::int64_t i = 2 * hidden; i < 3 * hidden; ++i) out.push_back(at(direction.b_hh, i));
}

// Some hypervisors show AMX but hide the shape of its tiles (CPUID leaf 0x1D, which the kernels are
// configured from): oneDNN 2.6 then dies of an illegal instruction in every bf16 kernel, so it is told to do
// without AMX.
void avoid_broken_amx() {
#if defined(__x86_64__)
  unsigned palettes = 0, ebx = 0, ecx = 0, edx = 0;
  __get_cpuid_count(0x1D, 0, &palettes, &ebx, &ecx, &edx);
  if (palettes == 0) dnnl::set_max_cpu_isa(dnnl::cpu_isa::avx512_core_bf16);
#endif
}

// Its bf16 kernel for inference ("brgemm") gives other values for a projected LSTM, already in the first
// step; the one that it has for training, on the same weights, the right ones.
void refuse_wrong_kernels(const Model& model, DType dtype) {
  const dnnl_version_t* v = dnnl_version();
  if (dtype != DType::bf16 || model.projection_size == 0 || v->major != 2 || v->minor != 6) return;
  throw Error(ErrorCode::unsupported,
              fmt::format("oneDNN {}.{}.{} computes another output for projected bf16 layers", v->major,
                          v->minor, v->patch));
}

class OneDnn final : public Peer {
 public:
  OneDnn(const Model& model, const Workload& workload, DType dtype)
      : type_(to_onednn(dtype)), engine_(dnnl::engine::kind::cpu, 0), stream_(engine_), model_(model) {
    const memory::dims x_dims{
        static_cast<std::int64_t>(workload.x.size()) / (workload.batch * model.input_size), workload.batch,
        model.input_size};
    x_ = memory({x_dims, type_, Tag::tnc}, engine_);
    fill(workload.x, {x_dims, memory::data_type::f32, Tag::tnc}, x_);
    for (int k = 0; k < workload.input_sets; ++k) {
      input_offsets_.push_back(memory::desc({workload.batch * model.input_size}, type_, Tag::a).get_size() *
                               k);
    }
    programs_.resize(workload.lengths.size());
    for (std::size_t i = 0; i < programs_.size(); ++i) {
      const std::int64_t steps = workload.lengths[i];
      memory input({{steps, workload.batch, model.input_size}, type_, Tag::tnc}, engine_,
                   x_.get_data_handle());
      for (std::size_t layer = 0; layer < model.layers.size(); ++layer) {
        programs_[i].push_back(make_layer(layer, steps, workload.batch, input));
        input = programs_[i].back().arguments.at(DNNL_ARG_DST_LAYER);
      }
    }
  }

  std::string version() const override {
    const dnnl_version_t* v = dnnl_version();
    return fmt::format("{}.{}.{}", v->major, v->minor, v->patch);
  }

  std::string implementation() const override { return implementation_; }

  void run(std::size_t length, std::size_t input_set) override {
    Program& program = programs_[length];
    program.front()
        .arguments.at(DNNL_ARG_SRC_LAYER)
        .set_data_handle(static_cast<char*>(x_.get_data_handle()) + input_offsets_[input_set]);
    for (const Step& step : program) step.primitive.execute(stream_, step.arguments);
    stream_.wait();
    last_ = &program.back().arguments.at(DNNL_ARG_DST_LAYER);
  }

  std::vector<float> output() const override {
    const auto dims = last_->get_desc().dims();
    memory plain({dims, memory::data_type::f32, Tag::tnc}, engine_);
    memory from = *last_;
    dnnl::stream stream = stream_;
    dnnl::reorder(from, plain).execute(stream, from, plain);
    stream.wait();
    const auto* values = static_cast<const float*>(plain.get_data_handle());
    return {values, values + dims[0] * dims[1] * dims[2]};
  }

 private:
  struct Step {
    dnnl::primitive primitive;
    Arguments arguments;
  };
  using Program = std::vector<Step>;  // the layers, one primitive each

  // Reorders (and rounds) plain floats into `to`.
  void fill(std::span<const float> values, const memory::desc& plain, memory& to) {
    memory from(plain, engine_);
    std::memcpy(from.get_data_handle(), values.data(), values.size_bytes());
    dnnl::reorder(from, to).execute(stream_, from, to);
    stream_.wait();
  }

  // The same layer's weights serve every length that wants the same layout.
  memory weights(std::size_t layer, int argument, std::span<const float> values, const memory::desc& plain,
                 const memory::desc& wanted) {
    auto& made = weights_[static_cast<int>(layer) * 1000 + argument];
    const auto same =
        std::find_if(made.begin(), made.end(), [&](const memory& m) { return m.get_desc() == wanted; });
    if (same != made.end()) return *same;
    made.emplace_back(wanted, engine_);
    fill(values, plain, made.back());
    return made.back();
  }

  template <class PrimitiveDesc>
  Step finish(const PrimitiveDesc& pd, dnnl::primitive primitive, std::size_t layer, const memory& input,
              std::int64_t in, std::int64_t recurrent) {
    const Layer& ours = model_.layers[layer];
    const CellKind kind = ours.directions.front().cell.kind;
    const auto directions = static_cast<std::int64_t>(ours.directions.size());
    const std::int64_t gates = ours.directions.front().cell.gates(), hidden = model_.hidden_size;
    std::vector<float> w_ih, w_hh, bias;
    for (const Direction& direction : ours.directions) {
      append_gates(w_ih, direction.w_ih, kind);
      append_gates(w_hh, direction.w_hh, kind);
      append_bias(bias, direction);
    }
    const auto f32 = memory::data_type::f32;
    const std::int64_t biases = kind == CellKind::gru ? 4 : gates;
    Arguments arguments{
        {DNNL_ARG_SRC_LAYER, input},
        {DNNL_ARG_WEIGHTS_LAYER,
         weights(layer, DNNL_ARG_WEIGHTS_LAYER, w_ih, {{1, directions, in, gates, hidden}, f32, Tag::ldgoi},
                 pd.weights_layer_desc())},
        {DNNL_ARG_WEIGHTS_ITER,
         weights(layer, DNNL_ARG_WEIGHTS_ITER, w_hh,
                 {{1, directions, recurrent, gates, hidden}, f32, Tag::ldgoi}, pd.weights_iter_desc())},
        {DNNL_ARG_BIAS, weights(layer, DNNL_ARG_BIAS, bias, {{1, directions, biases, hidden}, f32, Tag::ldgo},
                                pd.bias_desc())},
        {DNNL_ARG_DST_LAYER, memory(pd.dst_layer_desc(), engine_)},
        {DNNL_ARG_WORKSPACE, memory(pd.workspace_desc(), engine_)},
        {DNNL_ARG_SCRATCHPAD, memory(pd.scratchpad_desc(), engine_)},
    };
    if (model_.projection_size > 0) {
      std::vector<float> w_hr;
      for (const Direction& d : ours.directions)
        w_hr.insert(w_hr.end(), d.w_hr.values.begin(), d.w_hr.values.end());
      arguments.emplace(DNNL_ARG_WEIGHTS_PROJECTION,
                        weights(layer, DNNL_ARG_WEIGHTS_PROJECTION, w_hr,
                                {{1, directions, hidden, recurrent}, f32, Tag::ldoi}, projection_desc(pd)));
    }
    implementation_ = pd.impl_info_str();
    return {std::move(primitive), std::move(arguments)};
  }

  static memory::desc projection_desc(const dnnl::lstm_forward::primitive_desc& pd) {
    return pd.weights_projection_desc();
  }
  template <class PrimitiveDesc>
  static memory::desc projection_desc(const PrimitiveDesc&) {
    return {};
  }

  Step make_layer(std::size_t layer, std::int64_t steps, std::int64_t batch, const memory& input) {
    const Cell& cell = model_.layers[layer].directions.front().cell;
    const std::int64_t d = model_.num_directions(), g = cell.gates(), h = model_.hidden_size;
    const std::int64_t in = model_.layer_input_size(static_cast<std::int64_t>(layer)),
                       r = model_.state_size();
    const memory::desc src({steps, batch, in}, type_, Tag::tnc);
    const memory::desc dst({steps, batch, d * r}, type_, Tag::tnc);
    const memory::desc w_ih({1, d, in, g, h}, type_, Tag::any), w_hh({1, d, r, g, h}, type_, Tag::any);
    const memory::desc bias({1, d, cell.kind == CellKind::gru ? 4 : g, h}, memory::data_type::f32, Tag::ldgo);
    const memory::desc none;  // zero states in, no states out
    const auto inference = dnnl::prop_kind::forward_inference;
    const bool reverse = model_.layers[layer].directions.front().reverse;
    const auto direction = d == 2    ? dnnl::rnn_direction::bidirectional_concat
                           : reverse ? dnnl::rnn_direction::unidirectional_right2left
                                     : dnnl::rnn_direction::unidirectional_left2right;
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    switch (cell.kind) {
      case CellKind::lstm: {
        const memory::desc w_hr =
            model_.projection_size > 0 ? memory::desc({1, d, h, r}, type_, Tag::any) : none;
        const dnnl::lstm_forward::primitive_desc pd(
            {inference, direction, src, none, none, w_ih, w_hh, none, w_hr, bias, dst, none, none},
            attributes, engine_);
        return finish(pd, dnnl::lstm_forward(pd), layer, input, in, r);
      }
      case CellKind::gru: {
        const dnnl::lbr_gru_forward::primitive_desc pd(
            {inference, direction, src, none, w_ih, w_hh, bias, dst, none}, attributes, engine_);
        return finish(pd, dnnl::lbr_gru_forward(pd), layer, input, in, r);
      }
      case CellKind::rnn: {
        const auto activation =
            cell == relu_cell() ? dnnl::algorithm::eltwise_relu : dnnl::algorithm::eltwise_tanh;
        const dnnl::vanilla_rnn_forward::primitive_desc pd(
            {inference, activation, direction, src, none, w_ih, w_hh, bias, dst, none}, attributes, engine_);
        return finish(pd, dnnl::vanilla_rnn_forward(pd), layer, input, in, r);
      }
    }
    throw Error(ErrorCode::internal, "a cell of no known kind");
  }

  memory::data_type type_;
  dnnl::engine engine_;
  dnnl::stream stream_;
  Model model_;
  memory x_;
  std::vector<std::size_t> input_offsets_;  // bytes
  std::unordered_map<int, std::vector<memory>> weights_;
  std::vector<Program> programs_;  // one a length
  const memory* last_ = nullptr;
  std::string implementation_;
};

}  // namespace

std::unique_ptr<Peer> make_onednn(const Model& model, const Workload& workload, DType dtype) {
  avoid_broken_amx();
  refuse_wrong_kernels(model, dtype);
  try {
    return std::make_unique<OneDnn>(model, workload, dtype);
  } catch (const dnnl::error& error) {
    throw Error(ErrorCode::unsupported,
                fmt::format("oneDNN has no {} {} for this machine: {}", to_string(dtype),
                            to_string(model.layers.front().directions.front().cell), error.what()));
  }
}

}  // namespace sprnn::bench
