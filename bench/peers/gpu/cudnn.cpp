// cuDNN's recurrent layer, called directly with each of its algorithms.
#include <cudnn.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "bench/peers/gpu/peer.hpp"

namespace sprnn::bench {
namespace {

void expect(cudnnStatus_t status, const char* call) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  std::array<char, 512> detail{};
  cudnnGetLastErrorString(detail.data(), detail.size());
  throw Error(ErrorCode::unsupported, fmt::format("{}: {}{}{}", call, cudnnGetErrorString(status),
                                                  detail[0] != '\0' ? ": " : "", detail.data()));
}

struct Algorithm {
  const char* name;
  cudnnRNNAlgo_t algorithm;
  bool padded;  // whether a padded batch may help
};

// PERSIST_DYNAMIC is compiled for the batch, and its time grows with it (tanh 2304 fp16: 2.9, 5.6, 10.5 us at
// batch 1, 4, 8), so that padding only costs. Where the weights are more than the registers of all SMs hold
// (33 MB) it takes minutes to compile and was slower than the others when that was tried: LSTM 2048, B=4
// in 31.8 us against 16.4, LSTM 2304 in 171 against 15.9, tanh 4096 in 52.6 against 9.6.
constexpr std::int64_t most_dynamic_bytes = 32'000'000;

constexpr std::array<Algorithm, 4> algorithms{{
    {"STANDARD", CUDNN_RNN_ALGO_STANDARD, true},
    {"PERSIST_STATIC", CUDNN_RNN_ALGO_PERSIST_STATIC, true},
    {"PERSIST_STATIC_SMALL_H", CUDNN_RNN_ALGO_PERSIST_STATIC_SMALL_H, true},
    {"PERSIST_DYNAMIC", CUDNN_RNN_ALGO_PERSIST_DYNAMIC, false},
}};

cudnnRNNMode_t mode_of(const Cell& cell) {
  switch (cell.kind) {
    case CellKind::rnn:
      return cell == relu_cell() ? CUDNN_RNN_RELU : CUDNN_RNN_TANH;
    case CellKind::gru:
      return CUDNN_GRU;
    case CellKind::lstm:
      return CUDNN_LSTM;
  }
  return CUDNN_LSTM;
}

// cuDNN's objects; made one by one, so that a refusal on the way leaves nothing behind.
struct Handles {
  cudnnHandle_t library = nullptr;
  cudnnDropoutDescriptor_t dropout = nullptr;
  cudnnRNNDescriptor_t rnn = nullptr;
  cudnnTensorDescriptor_t state = nullptr, matrix = nullptr, bias = nullptr;
  std::vector<cudnnRNNDataDescriptor_t> x, y;  // one a length

  Handles() = default;
  Handles(const Handles&) = delete;
  Handles& operator=(const Handles&) = delete;
  ~Handles() {
    for (const auto data : x) cudnnDestroyRNNDataDescriptor(data);
    for (const auto data : y) cudnnDestroyRNNDataDescriptor(data);
    for (const auto tensor : {state, matrix, bias}) {
      if (tensor != nullptr) cudnnDestroyTensorDescriptor(tensor);
    }
    if (rnn != nullptr) cudnnDestroyRNNDescriptor(rnn);
    if (dropout != nullptr) cudnnDestroyDropoutDescriptor(dropout);
    if (library != nullptr) cudnnDestroy(library);
  }
};

class Cudnn final : public GpuPeer {
 public:
  Cudnn(const GpuJob& job, cudnnRNNAlgo_t algorithm, bool half, int padded)
      : job_(job), half_(half), padded_(padded), type_(half ? CUDNN_DATA_HALF : CUDNN_DATA_FLOAT) {
    const std::int64_t weights = job.gates() * job.hidden() * job.hidden() * (half ? 2 : 4);
    if (algorithm == CUDNN_RNN_ALGO_PERSIST_DYNAMIC && weights > most_dynamic_bytes)
      throw Error(ErrorCode::unsupported, "not tried on weights of more than 32 MB: METHOD.md says why");
    expect(cudnnCreate(&use_.library), "cudnnCreate");
    describe_layer(algorithm);
    describe_sequences();
    if (algorithm == CUDNN_RNN_ALGO_PERSIST_DYNAMIC)
      expect(cudnnBuildRNNDynamic(use_.library, use_.rnn, padded), "cudnnBuildRNNDynamic");
    place_weights();
    std::size_t reserve = 0;
    for (const cudnnRNNDataDescriptor_t x : use_.x) {
      std::size_t work = 0;
      expect(cudnnGetRNNTempSpaceSizes(use_.library, use_.rnn, CUDNN_FWD_MODE_INFERENCE, x, &work, &reserve),
             "cudnnGetRNNTempSpaceSizes");
      work_bytes_ = std::max(work_bytes_, work);
    }
    work_ = DeviceArray(work_bytes_);
    x_ = padded_input(job, half, padded);
    y_ = DeviceArray(static_cast<std::size_t>(job.workload.lengths.front()) * step_bytes());
  }

  void enqueue(std::size_t length, std::size_t input_set, std::size_t, cudaStream_t stream) override {
    expect(cudnnSetStream(use_.library, stream), "cudnnSetStream");
    expect(cudnnRNNForward(use_.library, use_.rnn, CUDNN_FWD_MODE_INFERENCE,
                           sequence_lengths_[length].get<std::int32_t>(), use_.x[length],
                           x_.get<char>() + input_set * step_bytes(), use_.y[length], y_.get(), use_.state,
                           nullptr, nullptr, use_.state, nullptr, nullptr, weight_bytes_, weights_.get(),
                           work_bytes_, work_.get(), 0, nullptr),
           "cudnnRNNForward");
  }

  std::vector<float> output(std::size_t length) override {
    return download_steps(y_, half_, job_.workload.lengths[length], padded_, job_.workload.batch,
                          job_.hidden());
  }

 private:
  [[nodiscard]] std::size_t element() const { return half_ ? 2 : 4; }
  [[nodiscard]] std::size_t step_bytes() const {
    return static_cast<std::size_t>(padded_ * job_.hidden()) * element();
  }

  void describe_layer(cudnnRNNAlgo_t algorithm) {
    expect(cudnnCreateDropoutDescriptor(&use_.dropout), "cudnnCreateDropoutDescriptor");
    expect(cudnnSetDropoutDescriptor(use_.dropout, use_.library, 0.0F, nullptr, 0, 0),
           "cudnnSetDropoutDescriptor");
    expect(cudnnCreateRNNDescriptor(&use_.rnn), "cudnnCreateRNNDescriptor");
    const auto hidden = static_cast<std::int32_t>(job_.hidden());
    // Sums in fp32; fp32 data may use the tensor cores' TF32, cuDNN's default.
    expect(cudnnSetRNNDescriptor_v8(use_.rnn, algorithm, mode_of(job_.direction().cell),
                                    CUDNN_RNN_DOUBLE_BIAS, CUDNN_UNIDIRECTIONAL,
                                    job_.whole_layer ? CUDNN_LINEAR_INPUT : CUDNN_SKIP_INPUT, type_,
                                    CUDNN_DATA_FLOAT, half_ ? CUDNN_TENSOR_OP_MATH : CUDNN_DEFAULT_MATH,
                                    hidden, hidden, hidden, 1, use_.dropout, CUDNN_RNN_PADDED_IO_DISABLED),
           "cudnnSetRNNDescriptor_v8");
    expect(cudnnCreateTensorDescriptor(&use_.state), "cudnnCreateTensorDescriptor");
    const std::array<int, 3> sizes{1, padded_, hidden}, strides{padded_ * hidden, hidden, 1};
    expect(cudnnSetTensorNdDescriptor(use_.state, type_, 3, sizes.data(), strides.data()),
           "cudnnSetTensorNdDescriptor");
  }

  void describe_sequences() {
    const auto hidden = static_cast<int>(job_.hidden());
    for (const std::int64_t steps : job_.workload.lengths) {
      const std::vector<int> lengths(static_cast<std::size_t>(padded_), static_cast<int>(steps));
      sequence_lengths_.push_back(upload(lengths.data(), lengths.size()));
      for (auto* list : {&use_.x, &use_.y}) {
        cudnnRNNDataDescriptor_t data = nullptr;
        expect(cudnnCreateRNNDataDescriptor(&data), "cudnnCreateRNNDataDescriptor");
        list->push_back(data);
        expect(cudnnSetRNNDataDescriptor(data, type_, CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_PACKED,
                                         static_cast<int>(steps), padded_, hidden, lengths.data(), nullptr),
               "cudnnSetRNNDataDescriptor");
      }
    }
  }

  void place_weights() {
    expect(cudnnGetRNNWeightSpaceSize(use_.library, use_.rnn, &weight_bytes_), "cudnnGetRNNWeightSpaceSize");
    weights_ = zeros(weight_bytes_);
    expect(cudnnCreateTensorDescriptor(&use_.matrix), "cudnnCreateTensorDescriptor");
    expect(cudnnCreateTensorDescriptor(&use_.bias), "cudnnCreateTensorDescriptor");
    const auto gates = static_cast<int>(job_.gates());
    for (int g = 0; g < gates; ++g) {
      if (job_.whole_layer)
        place_gate(g, half_ ? job_.w_ih_half : job_.w_ih_float, job_.direction().b_ih, g);
      else
        place_gate(g, {}, job_.direction().b_ih, g);
      place_gate(gates + g, half_ ? job_.w_hh_half : job_.w_hh_float, job_.direction().b_hh, g);
    }
  }

  // Its gates are ordered as PyTorch's: LSTM i f g o, GRU r z n.
  void place_gate(int id, const DeviceArray& matrix, const std::vector<float>& bias, int gate) {
    void* matrix_at = nullptr;
    void* bias_at = nullptr;
    expect(cudnnGetRNNWeightParams(use_.library, use_.rnn, 0, weight_bytes_, weights_.get(), id, use_.matrix,
                                   &matrix_at, use_.bias, &bias_at),
           "cudnnGetRNNWeightParams");
    const auto hidden = static_cast<std::size_t>(job_.hidden());
    if (matrix.get() != nullptr) {
      const std::size_t bytes = hidden * hidden * element();
      if (matrix_at == nullptr)
        throw Error(ErrorCode::unsupported, "cuDNN names no place for a weight matrix");
      bench::expect(cudaMemcpy(matrix_at, matrix.get<char>() + static_cast<std::size_t>(gate) * bytes, bytes,
                               cudaMemcpyDeviceToDevice),
                    "cudaMemcpy");
    }
    std::vector<std::byte> values(hidden * element());
    for (std::size_t i = 0; i < hidden; ++i) {
      const std::uint32_t bits =
          to_bits(half_ ? DType::fp16 : DType::fp32, bias[static_cast<std::size_t>(gate) * hidden + i]);
      std::memcpy(values.data() + i * element(), &bits, element());
    }
    bench::expect(cudaMemcpy(bias_at, values.data(), values.size(), cudaMemcpyHostToDevice), "cudaMemcpy");
  }

  const GpuJob& job_;
  bool half_;
  int padded_;
  cudnnDataType_t type_;
  Handles use_;
  std::vector<DeviceArray> sequence_lengths_;  // one a length
  DeviceArray weights_, work_, x_, y_;
  std::size_t weight_bytes_ = 0, work_bytes_ = 0;
};

}  // namespace

GpuPeerKind cudnn_peer(const GpuJob& job) {
  GpuPeerKind kind{"cuDNN", fmt::format("cuDNN {}", cudnnGetVersion()), {}};
  for (const Algorithm& one : algorithms) {
    for (const bool half : {true, false}) {
      for (const int padded : padded_batches(job.workload.batch)) {
        if (padded > job.workload.batch && !one.padded) continue;
        const std::string name =
            fmt::format("{} {}{}", one.name, half ? "fp16" : "fp32",
                        padded > job.workload.batch ? fmt::format(", batch padded to {}", padded) : "");
        const cudnnRNNAlgo_t algorithm = one.algorithm;
        kind.configurations.push_back({name, {Launch::eager, Launch::graph}, [&job, algorithm, half, padded] {
                                         return std::make_shared<Cudnn>(job, algorithm, half, padded);
                                       }});
      }
    }
  }
  return kind;
}

}  // namespace sprnn::bench
