# For a build that is carried to other machines (the wheel, scripts/gpu_check): third-party libraries and the C++ runtime
# are inside, glibc stays outside. A library is linked statically where its archive is position-independent; else its
# shared object is installed beside ours.
set(CMAKE_INSTALL_RPATH "$ORIGIN/../lib")  # from bin/ and from lib/ alike
add_link_options(-static-libstdc++ -static-libgcc)

# Sets <result> to the archive lib<library>.a when it can be part of a shared object, else to NOTFOUND.
function(stillframe_position_independent_archive result library)
  string(TOUPPER ${library} id)
  find_library(${id}_ARCHIVE lib${library}.a)
  set(${result} NOTFOUND PARENT_SCOPE)
  if(NOT ${id}_ARCHIVE)
    return()
  endif()
  file(WRITE ${CMAKE_BINARY_DIR}/CMakeFiles/bundle/nothing.cpp "int stillframe_nothing() { return 0; }\n")
  try_compile(${id}_ARCHIVE_IS_POSITION_INDEPENDENT ${CMAKE_BINARY_DIR}/CMakeFiles/bundle/${library}
    ${CMAKE_BINARY_DIR}/CMakeFiles/bundle/nothing.cpp
    CMAKE_FLAGS -DCMAKE_POSITION_INDEPENDENT_CODE=ON
    LINK_OPTIONS -shared -Wl,--whole-archive ${${id}_ARCHIVE} -Wl,--no-whole-archive)
  if(${id}_ARCHIVE_IS_POSITION_INDEPENDENT)
    set(${result} ${${id}_ARCHIVE} PARENT_SCOPE)
  endif()
endfunction()

# The shared object <file> lies in lib/ of what is installed, under the name by which the loader asks for it.
function(stillframe_carry file)
  get_filename_component(real ${file} REALPATH)
  execute_process(COMMAND ${CMAKE_OBJDUMP} -p ${real} OUTPUT_VARIABLE headers COMMAND_ERROR_IS_FATAL ANY)
  if(NOT headers MATCHES "SONAME +([^\n]+)")
    message(FATAL_ERROR "${real} has no SONAME: it cannot be carried")
  endif()
  foreach(component python gpu_check)
    install(PROGRAMS ${real} DESTINATION lib RENAME ${CMAKE_MATCH_1} COMPONENT ${component})
  endforeach()
endfunction()
