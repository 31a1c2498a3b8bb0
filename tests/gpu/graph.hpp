// A CUDA graph captured from what is enqueued on a stream.
#pragma once

#include <functional>
#include <vector>

#include "engines/cuda/gpu.hpp"

namespace sprnn::test {

class Graph {
 public:
  // With a GPU current; `enqueue` must put all its work on the stream.
  Graph(cuda::Stream stream, const std::function<void()>& enqueue);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  void launch(cuda::Stream stream) const;

  // The memory that its memset nodes fill: of a run, the exchange's ring and control words.
  struct Range {
    cuda::DevicePointer begin = 0;
    std::size_t bytes = 0;
  };
  [[nodiscard]] std::vector<Range> memsets() const;

 private:
  void* graph_ = nullptr;       // CUgraph
  void* executable_ = nullptr;  // CUgraphExec
};

}  // namespace sprnn::test
