# Device code inside the program. stillframe_embed_kernels(<folder> <source>): nvcc, found by name, makes a fat binary of the
# folder's kernels.cu, which `source` embeds by the name SF_KERNEL_IMAGE; without nvcc the name is not defined.
#
# The architectures of data centre GPUs since 2020; any other from compute capability 8.0 on takes the portable code (PTX), which
# its driver compiles when it is loaded.
set(STILLFRAME_GPU_ARCHITECTURES 80 90 100 CACHE STRING "Compute capabilities that the kernels are compiled for")
find_program(STILLFRAME_NVCC nvcc DOC "CUDA compiler for cuda/*.cu")

# Into `result`: those of `wanted` that this nvcc compiles for; into `unknown`: the others. One that does not say gets all of them.
function(stillframe_architectures_of_nvcc wanted result unknown)
  set(${result} ${wanted} PARENT_SCOPE)
  set(${unknown} "" PARENT_SCOPE)
  execute_process(COMMAND ${STILLFRAME_NVCC} --list-gpu-arch OUTPUT_VARIABLE listed ERROR_QUIET RESULT_VARIABLE code)
  string(REGEX MATCHALL "compute_[0-9]+" known "${listed}")
  if(NOT code EQUAL 0 OR NOT known)
    return()
  endif()
  foreach(architecture ${wanted})
    if("compute_${architecture}" IN_LIST known)
      list(APPEND kept ${architecture})
    else()
      list(APPEND dropped ${architecture})
    endif()
  endforeach()
  if(NOT kept)
    message(FATAL_ERROR "GPU kernels: ${STILLFRAME_NVCC} compiles for none of STILLFRAME_GPU_ARCHITECTURES (${wanted})")
  endif()
  if(dropped)
    list(JOIN dropped ", sm_" names)
    message(STATUS "GPU kernels: this nvcc does not know sm_${names}; such GPUs take the portable code")
  endif()
  set(${result} ${kept} PARENT_SCOPE)
  set(${unknown} "${dropped}" PARENT_SCOPE)
endfunction()

if(STILLFRAME_NVCC)
  stillframe_architectures_of_nvcc("${STILLFRAME_GPU_ARCHITECTURES}" STILLFRAME_KERNEL_ARCHITECTURES
                                   STILLFRAME_UNKNOWN_GPU_ARCHITECTURES)
  list(JOIN STILLFRAME_KERNEL_ARCHITECTURES ", sm_" architectures)
  message(STATUS "GPU kernels: compiled by nvcc for sm_${architectures} and as PTX")
else()
  message(STATUS "GPU kernels: NOT built, since nvcc is not on the PATH (or -DSTILLFRAME_NVCC=...). Tensors on a GPU that no "
                 "fence guards, and small ones, are then gathered with plain copies, one a tensor: slower, with the same result. "
                 "No capture is checked against the GPU")
endif()

function(stillframe_embed_kernels folder source)
  if(NOT STILLFRAME_NVCC)
    return()
  endif()
  set(image ${CMAKE_CURRENT_BINARY_DIR}/kernels.fatbin)
  file(GLOB kernel_sources CONFIGURE_DEPENDS ${folder}/*.cu ${folder}/*_body.hpp)
  list(GET STILLFRAME_KERNEL_ARCHITECTURES 0 oldest)
  set(code -gencode arch=compute_${oldest},code=compute_${oldest})
  foreach(architecture ${STILLFRAME_KERNEL_ARCHITECTURES})
    list(APPEND code -gencode arch=compute_${architecture},code=sm_${architecture})
  endforeach()
  add_custom_command(
    OUTPUT ${image}
    COMMAND ${STILLFRAME_NVCC} -fatbin -std=c++17 -O3 ${code} -o ${image} ${folder}/kernels.cu
    DEPENDS ${kernel_sources}
    COMMENT "Compiling the kernels for the GPU"
    VERBATIM)
  set_source_files_properties(${source} PROPERTIES OBJECT_DEPENDS ${image}
                                                   COMPILE_DEFINITIONS SF_KERNEL_IMAGE="${image}")
endfunction()
