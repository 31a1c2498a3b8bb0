#include "bench/peers/gpu/peer.hpp"

#include "bench/peers/gpu/cell.hpp"

namespace sprnn::bench {
namespace {

DeviceArray halves_of(const DeviceArray& floats, std::size_t count) {
  DeviceArray halves(count * 2);
  to_half(floats.get<float>(), count, halves.get());
  return halves;
}

}  // namespace

GpuJob::GpuJob(const Model& the_model, const Workload& the_workload, bool with_projection)
    : model(the_model), workload(the_workload), whole_layer(with_projection) {
  const Direction& one = direction();
  const auto place = [](const std::vector<float>& values, DeviceArray& floats, DeviceArray& halves) {
    floats = upload(values.data(), values.size());
    halves = halves_of(floats, values.size());
  };
  place(one.w_hh.values, w_hh_float, w_hh_half);
  if (whole_layer) place(one.w_ih.values, w_ih_float, w_ih_half);
  place(workload.x, x_float, x_half);
  expect(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
}

GpuPeerContestant::GpuPeerContestant(std::shared_ptr<GpuPeer> peer, Launch launch, const Workload& workload)
    : peer_(std::move(peer)),
      launch_(launch),
      input_sets_(static_cast<std::size_t>(workload.input_sets)),
      graphs_(workload.lengths.size() * input_sets_) {
  expect(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  expect(cudaEventCreate(&begin_), "cudaEventCreate");
  expect(cudaEventCreate(&end_), "cudaEventCreate");
}

GpuPeerContestant::~GpuPeerContestant() {
  for (const Graphs& pieces : graphs_) {
    for (const cudaGraphExec_t graph : pieces) cudaGraphExecDestroy(graph);
  }
  cudaEventDestroy(begin_);
  cudaEventDestroy(end_);
  cudaStreamDestroy(stream_);
}

cudaGraphExec_t GpuPeerContestant::capture(std::size_t length, std::size_t input_set, std::size_t piece) {
  expect(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed), "cudaStreamBeginCapture");
  cudaGraph_t graph = nullptr;
  try {
    peer_->enqueue(length, input_set, piece, stream_);
  } catch (const Error&) {
    cudaStreamEndCapture(stream_, &graph);
    cudaGraphDestroy(graph);
    (void)cudaGetLastError();
    throw;
  }
  expect(cudaStreamEndCapture(stream_, &graph), "cudaStreamEndCapture");
  cudaGraphExec_t ready = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&ready, graph, 0);
  cudaGraphDestroy(graph);
  expect(status, "cudaGraphInstantiate");
  expect(cudaGraphUpload(ready, stream_), "cudaGraphUpload");
  return ready;
}

const GpuPeerContestant::Graphs& GpuPeerContestant::captured(std::size_t length, std::size_t input_set) {
  Graphs& graphs = graphs_[length * input_sets_ + input_set];
  for (std::size_t piece = graphs.size(); piece < peer_->pieces(length); ++piece)
    graphs.push_back(capture(length, input_set, piece));
  return graphs;
}

double GpuPeerContestant::run(std::size_t length, std::size_t input_set) {
  last_length_ = length;
  const Graphs none, &graphs = launch_ == Launch::graph ? captured(length, input_set) : none;
  expect(cudaEventRecord(begin_, stream_), "cudaEventRecord");
  for (const cudaGraphExec_t graph : graphs) expect(cudaGraphLaunch(graph, stream_), "cudaGraphLaunch");
  for (std::size_t piece = 0; launch_ == Launch::eager && piece < peer_->pieces(length); ++piece)
    peer_->enqueue(length, input_set, piece, stream_);
  expect(cudaEventRecord(end_, stream_), "cudaEventRecord");
  expect(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
  float milliseconds = 0.0F;
  expect(cudaEventElapsedTime(&milliseconds, begin_, end_), "cudaEventElapsedTime");
  return 1e3 * static_cast<double>(milliseconds);
}

std::vector<int> padded_batches(int batch) {
  std::vector<int> batches{batch};
  for (const int padded : {8, 16}) {
    if (padded > batch) batches.push_back(padded);
  }
  return batches;
}

std::vector<float> download_steps(const DeviceArray& y, bool half, std::int64_t steps, int padded, int batch,
                                  std::int64_t hidden) {
  const auto count = static_cast<std::size_t>(steps * padded * hidden);
  DeviceArray widened;
  if (half) {
    widened = DeviceArray(count * sizeof(float));
    to_float(y.get(), count, widened.get<float>());
  }
  std::vector<float> all(count);
  expect(
      cudaMemcpy(all.data(), half ? widened.get() : y.get(), count * sizeof(float), cudaMemcpyDeviceToHost),
      "cudaMemcpy");
  std::vector<float> values;
  values.reserve(static_cast<std::size_t>(steps * batch * hidden));
  for (std::int64_t t = 0; t < steps; ++t) {
    const auto step = all.begin() + t * padded * hidden;
    values.insert(values.end(), step, step + batch * hidden);
  }
  return values;
}

DeviceArray padded_input(const GpuJob& job, bool half, int padded) {
  const Workload& workload = job.workload;
  const auto steps = static_cast<std::size_t>(workload.lengths.front() + workload.input_sets - 1);
  const std::size_t entry = static_cast<std::size_t>(job.hidden()) * (half ? 2 : 4);
  const std::size_t from = entry * static_cast<std::size_t>(workload.batch);
  const std::size_t to = entry * static_cast<std::size_t>(padded);
  DeviceArray x = zeros(steps * to);
  expect(cudaMemcpy2D(x.get(), to, (half ? job.x_half : job.x_float).get(), from, from, steps,
                      cudaMemcpyDeviceToDevice),
         "cudaMemcpy2D");
  return x;
}

}  // namespace sprnn::bench
