// The gather kernel: any number of listed ranges, each copied to its place, in one launch. Device code and nothing
// else; the body and what it expects of the list stand in gather_body.hpp.
#include "gather_body.hpp"

namespace gather = stillframe::gather;

// Any grid of blocks of whole warps does all of the work.
extern "C" __global__ void __launch_bounds__(256)
    stillframe_gather(const gather::Entry* entries, unsigned long long count) {
  const unsigned long long warps = static_cast<unsigned long long>(gridDim.x) * blockDim.x / gather::kLanes;
  const unsigned long long warp =
      (static_cast<unsigned long long>(blockIdx.x) * blockDim.x + threadIdx.x) / gather::kLanes;
  const unsigned long long tiles = gather::tile_count(entries, count);
  for (unsigned long long tile = warp; tile < tiles; tile += warps) {
    gather::copy_tile(entries, count, tile, threadIdx.x % gather::kLanes);
  }
}
