// Host twins of the kernels that the product brings: from the very bodies that are compiled for the device.
#pragma once

#include <vector>

#include "fake_cuda/fake_cuda.hpp"

namespace stillframe::fake_cuda {

[[nodiscard]] std::vector<Kernel> product_kernels();

}  // namespace stillframe::fake_cuda
