// The state of a session on a GPU: in and out, by way of the host and on the device.
#include <algorithm>
#include <utility>

#include "engines/cuda/session.hpp"

namespace sprnn::cuda {

// The state before a run, where it does not just go on.
void GpuSession::take_state(const DeviceSequence& sequence, Stream stream) {
  if (sequence.from_zero) {
    for (const Buffer* state : {&h_, &c_}) {
      if (state->bytes() > 0)
        cuda::check(driver().set_bytes(state->get(), 0, state->bytes(), stream), "cuMemsetD8Async");
    }
    std::fill(range_.begin(), range_.end(), StateRange::stampable);
  }
  if (sequence.h0 == nullptr) return;
  const auto load = [&](const void* from, const Buffer& to, std::size_t width, DevicePointer unbounded) {
    const std::size_t in_direction = static_cast<std::size_t>(batch_) * width;
    // Directions that ask the same of a state at once: nearly always all of them.
    for (std::size_t first = 0, end = 0; first < directions_.size(); first = end) {
      const bool relu = directions_[first]->is_relu();
      while (end < directions_.size() && directions_[end]->is_relu() == relu) ++end;
      const auto count = static_cast<std::int64_t>((end - first) * in_direction);
      kernels_->load_state.launch(
          stream, static_cast<unsigned>((count + 255) / 256), 256U,
          reinterpret_cast<DevicePointer>(from) + first * in_direction * size_of(problem_.dtype), count,
          to.get() + first * in_direction * sizeof(float), static_cast<std::int64_t>(in_direction),
          std::int32_t{relu}, unbounded == 0 ? unbounded : unbounded + first * sizeof(std::uint32_t));
    }
  };
  for (std::size_t d = 0; d < directions_.size(); ++d) {
    // A gru's state contains the old one for ever. What other cells make is stampable, and the initial state
    // is exchanged only by strategies that exchange all states, or where a sequence begins late: a shorter
    // one that runs backwards.
    const bool is_exchanged = problem_.directions[d].cell.kind == CellKind::gru ||
                              directions_[d]->exchanges_initial_state() ||
                              (problem_.directions[d].reverse && sequence.lengths != nullptr);
    range_[d] = is_exchanged ? StateRange::on_device : StateRange::stampable;
    if (is_exchanged) directions_[d]->prepare_unbounded();
  }
  cuda::check(driver().set_bytes(unbounded_.get(), 0, unbounded_.bytes(), stream), "cuMemsetD8Async");
  load(sequence.h0, h_, state_.width(), unbounded_.get());
  if (sequence.c0 != nullptr) load(sequence.c0, c_, state_.cell_width(), 0);
}

void GpuSession::give_state(const DeviceSequence& sequence, Stream stream) const {
  for (const auto& [to, from] : {std::pair{sequence.hn, &h_}, std::pair{sequence.cn, &c_}}) {
    if (to == nullptr) continue;
    const auto count = static_cast<std::int64_t>(from->bytes() / sizeof(float));
    kernels_->store_state.launch(stream, static_cast<unsigned>((count + 255) / 256), 256U, from->get(), count,
                                 status_.get(), to);
  }
}

void GpuSession::download_state() const {
  const Current current(*gpu_);
  last_->wait();
  cuda::check(driver().to_host(state_.h().data(), h_.get(), state_.h().size_bytes(), *stream_),
              "cuMemcpyDtoHAsync");
  if (!state_.c().empty())
    cuda::check(driver().to_host(state_.c().data(), c_.get(), state_.c().size_bytes(), *stream_),
                "cuMemcpyDtoHAsync");
  cuda::check(driver().synchronize(*stream_), "cuStreamSynchronize");
}

void GpuSession::upload_state() {
  const Current current(*gpu_);
  last_->wait();
  cuda::check(driver().to_device(h_.get(), state_.h().data(), state_.h().size_bytes(), *stream_),
              "cuMemcpyHtoDAsync");
  if (!state_.c().empty())
    cuda::check(driver().to_device(c_.get(), state_.c().data(), state_.c().size_bytes(), *stream_),
                "cuMemcpyHtoDAsync");
  cuda::check(driver().synchronize(*stream_), "cuStreamSynchronize");
  const std::size_t values = static_cast<std::size_t>(batch_) * state_.width();
  for (std::size_t d = 0; d < directions_.size(); ++d) {
    const std::span<const float> h = state_.h().subspan(d * values, values);
    const bool stampable =
        std::all_of(h.begin(), h.end(), [&](float value) { return directions_[d]->is_stampable(value); });
    range_[d] = stampable ? StateRange::stampable : StateRange::any;
    if (!stampable) directions_[d]->prepare_unbounded();
  }
}

void GpuSession::get_state(std::span<float> h, std::span<float> c) const {
  const Current current(*gpu_);
  throw_if_aborted();
  download_state();
  state_.get(h, c);
}

void GpuSession::set_state(std::span<const float> h, std::span<const float> c) {
  state_.set(h, c);
  upload_state();
}

void GpuSession::get_state(int entry, std::span<float> h, std::span<float> c) const {
  const Current current(*gpu_);
  throw_if_aborted();
  download_state();
  state_.get(entry, h, c);
}

void GpuSession::set_state(int entry, std::span<const float> h, std::span<const float> c) {
  download_state();
  state_.set(entry, h, c);
  upload_state();
}

void GpuSession::reset() {
  state_.reset();
  upload_state();
}

void GpuSession::reset(int entry) {
  download_state();
  state_.reset(entry);
  upload_state();
}

}  // namespace sprnn::cuda
