// The gather kernel's image as a part of this library. SF_GATHER_IMAGE is the file that nvcc made, for the assembler
// alone; CMakeLists.txt defines it where there is nvcc.
#include "device/gather_kernel.hpp"

#ifdef SF_GATHER_IMAGE
asm(".pushsection .rodata\n"
    ".balign 64\n"
    ".hidden sf_gather_image_begin\n"
    ".hidden sf_gather_image_end\n"
    ".global sf_gather_image_begin\n"
    "sf_gather_image_begin:\n"
    ".incbin \"" SF_GATHER_IMAGE
    "\"\n"
    ".global sf_gather_image_end\n"
    "sf_gather_image_end:\n"
    ".byte 0\n"
    ".popsection\n");
extern "C" const std::byte sf_gather_image_begin[];
extern "C" const std::byte sf_gather_image_end[];
#endif

namespace stillframe::device {

std::span<const std::byte> embedded_gather_image() noexcept {
#ifdef SF_GATHER_IMAGE
  return {sf_gather_image_begin, sf_gather_image_end};
#else
  return {};
#endif
}

}  // namespace stillframe::device
