# For a build that is carried to other machines (the wheel, scripts/gpu_check): third-party libraries and the C++ runtime
# are inside, glibc stays outside. A library is linked statically where its archive is position-independent; else a copy
# of its shared object is installed beside ours.
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

# Sets <result> to a copy of the shared object <file> that lies in lib/ of what is installed under a name of our own,
# "sf_zstd.so.1" for "libzstd.so.1": by the name that all know, the loader would take what the process has already, of
# whatever version. The name is as long as the old one, so that it can be changed where it stands.
function(stillframe_carry result file)
  get_filename_component(real ${file} REALPATH)
  stillframe_soname(soname ${real})
  string(REGEX REPLACE "^lib" "sf_" own_name ${soname})
  set(copy ${CMAKE_BINARY_DIR}/CMakeFiles/bundle/${own_name})
  string(REPLACE "." "\\." pattern ${soname})
  execute_process(COMMAND ${CMAKE_COMMAND} -E env LC_ALL=C sed -z "s/^${pattern}$/${own_name}/" ${real}
                  OUTPUT_FILE ${copy} COMMAND_ERROR_IS_FATAL ANY)
  stillframe_soname(renamed ${copy})
  file(SIZE ${real} real_bytes)
  file(SIZE ${copy} copy_bytes)
  if(NOT renamed STREQUAL own_name OR NOT real_bytes EQUAL copy_bytes)
    message(FATAL_ERROR "${real} cannot be carried under a name of our own: its SONAME is ${renamed}")
  endif()
  foreach(component python gpu_check)
    install(PROGRAMS ${copy} DESTINATION lib COMPONENT ${component})
  endforeach()
  set(${result} ${copy} PARENT_SCOPE)
endfunction()

function(stillframe_soname result file)
  execute_process(COMMAND ${CMAKE_OBJDUMP} -p ${file} OUTPUT_VARIABLE headers COMMAND_ERROR_IS_FATAL ANY)
  if(NOT headers MATCHES "SONAME +([^\n]+)")
    message(FATAL_ERROR "${file} has no SONAME: it cannot be carried")
  endif()
  set(${result} ${CMAKE_MATCH_1} PARENT_SCOPE)
endfunction()
