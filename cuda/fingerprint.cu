// The fingerprint kernel: the sums of any number of listed ranges, in one launch. Device code and nothing else; the body
// and what it expects of the list stand in fingerprint_body.hpp.
#include "fingerprint_body.hpp"

namespace fingerprint = stillframe::fingerprint;

// Any grid of blocks of whole warps does all of the work.
extern "C" __global__ void __launch_bounds__(256)
    stillframe_fingerprint(fingerprint::Entry* entries, unsigned long long count) {
  const unsigned long long warps = static_cast<unsigned long long>(gridDim.x) * blockDim.x / fingerprint::kLanes;
  const unsigned long long warp =
      (static_cast<unsigned long long>(blockIdx.x) * blockDim.x + threadIdx.x) / fingerprint::kLanes;
  const unsigned lane = threadIdx.x % fingerprint::kLanes;
  const unsigned long long tiles = fingerprint::tile_count(entries, count);
  for (unsigned long long tile = warp; tile < tiles; tile += warps) {
    fingerprint::Parts parts(entries, count, tile);
    for (fingerprint::Part part; parts.next(part);) {
      fingerprint::Entry& entry = entries[part.entry];
      unsigned long long sum = fingerprint::sum_grains(entry.from, entry.bytes, part.first, part.past, lane);
      for (unsigned other = fingerprint::kLanes / 2; other != 0; other /= 2) {
        sum += __shfl_xor_sync(0xFFFFFFFFU, sum, static_cast<int>(other));
      }
      if (lane == 0) atomicAdd(reinterpret_cast<unsigned long long*>(&entry.sum), sum);
    }
  }
}
