// Stands in for onednn.cpp in a build without the library.
#include "bench/peers/peer.hpp"
#include "sprnn/error.hpp"

namespace sprnn::bench {

std::unique_ptr<Peer> make_onednn(const Model&, const Workload&, DType) {
  throw Error(ErrorCode::unsupported,
              "this build has no oneDNN: install libdnnl-dev, then configure and build again");
}

}  // namespace sprnn::bench
