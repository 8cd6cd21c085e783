// The kernels' image as a part of this library. SF_KERNEL_IMAGE is the file that nvcc made, for the assembler alone;
// CMakeLists.txt defines it where there is nvcc.
#include "device/kernels.hpp"

#ifdef SF_KERNEL_IMAGE
asm(".pushsection .rodata\n"
    ".balign 64\n"
    ".hidden sf_kernel_image_begin\n"
    ".hidden sf_kernel_image_end\n"
    ".global sf_kernel_image_begin\n"
    "sf_kernel_image_begin:\n"
    ".incbin \"" SF_KERNEL_IMAGE
    "\"\n"
    ".global sf_kernel_image_end\n"
    "sf_kernel_image_end:\n"
    ".byte 0\n"
    ".popsection\n");
extern "C" const std::byte sf_kernel_image_begin[];
extern "C" const std::byte sf_kernel_image_end[];
#endif

namespace stillframe::device {

std::span<const std::byte> embedded_kernel_image() noexcept {
#ifdef SF_KERNEL_IMAGE
  return {sf_kernel_image_begin, sf_kernel_image_end};
#else
  return {};
#endif
}

}  // namespace stillframe::device
