#include "gpu/graph.hpp"

#include "gpu/graph_api.hpp"

namespace sprnn::test {

namespace {

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
