#include "gpu/graph.hpp"

namespace sprnn::test {

namespace {

// cuda.h, the part that is used.
constexpr int capture_mode_thread_local = 1;
constexpr int node_type_memset = 2;

struct MemsetNode {  // CUDA_MEMSET_NODE_PARAMS
  cuda::DevicePointer destination = 0;
  std::size_t pitch = 0;
  unsigned value = 0, element_bytes = 0;
  std::size_t width = 0, height = 0;
};

struct GraphApi {
  cuda::Library library{{"libcuda.so.1"}, "NVIDIA's driver library"};
  cuda::Result (*begin_capture)(cuda::Stream, int mode) = nullptr;
  cuda::Result (*end_capture)(cuda::Stream, void** graph) = nullptr;
  cuda::Result (*instantiate)(void** executable, void* graph, unsigned long long flags) = nullptr;
  cuda::Result (*launch)(void* executable, cuda::Stream) = nullptr;
  cuda::Result (*destroy_executable)(void*) = nullptr;
  cuda::Result (*destroy)(void*) = nullptr;
  cuda::Result (*nodes)(void* graph, void** nodes, std::size_t* count) = nullptr;
  cuda::Result (*node_type)(void* node, int* type) = nullptr;
  cuda::Result (*memset_parameters)(void* node, MemsetNode*) = nullptr;

  GraphApi() {
    library.find(begin_capture, "cuStreamBeginCapture_v2");
    library.find(end_capture, "cuStreamEndCapture");
    library.find(instantiate, "cuGraphInstantiateWithFlags");
    library.find(launch, "cuGraphLaunch");
    library.find(destroy_executable, "cuGraphExecDestroy");
    library.find(destroy, "cuGraphDestroy");
    library.find(nodes, "cuGraphGetNodes");
    library.find(node_type, "cuGraphNodeGetType");
    library.find(memset_parameters, "cuGraphMemsetNodeGetParams");
  }
};

const GraphApi& api() {
  static const GraphApi loaded;
  return loaded;
}

}  // namespace

Graph::Graph(cuda::Stream stream, const std::function<void()>& enqueue) {
  cuda::check(api().begin_capture(stream, capture_mode_thread_local), "cuStreamBeginCapture");
  try {
    enqueue();
  } catch (...) {
    if (api().end_capture(stream, &graph_) == 0) api().destroy(graph_);
    throw;
  }
  cuda::check(api().end_capture(stream, &graph_), "cuStreamEndCapture");
  cuda::check(api().instantiate(&executable_, graph_, 0), "cuGraphInstantiateWithFlags");
}

Graph::~Graph() {
  if (executable_ != nullptr) api().destroy_executable(executable_);
  if (graph_ != nullptr) api().destroy(graph_);
}

void Graph::launch(cuda::Stream stream) const {
  cuda::check(api().launch(executable_, stream), "cuGraphLaunch");
}

std::vector<Graph::Range> Graph::memsets() const {
  std::size_t count = 0;
  cuda::check(api().nodes(graph_, nullptr, &count), "cuGraphGetNodes");
  std::vector<void*> nodes(count);
  cuda::check(api().nodes(graph_, nodes.data(), &count), "cuGraphGetNodes");
  std::vector<Range> ranges;
  for (void* node : nodes) {
    int type = 0;
    cuda::check(api().node_type(node, &type), "cuGraphNodeGetType");
    if (type != node_type_memset) continue;
    MemsetNode memset;
    cuda::check(api().memset_parameters(node, &memset), "cuGraphMemsetNodeGetParams");
    ranges.push_back({memset.destination, memset.width * memset.element_bytes * memset.height});
  }
  return ranges;
}

}  // namespace sprnn::test
