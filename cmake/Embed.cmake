# Text files inside the program: what a store holds beside its checkpoints. As a module: stillframe_embed(). As a script
# (cmake -P, with TEXTS and OUTPUT): writes the source, so that a changed text is compiled in without a new
# configuration. The source holds the texts and no path.
if(CMAKE_SCRIPT_MODE_FILE)
  set(source "#include \"store/page_texts.hpp\"\n\nnamespace stillframe::store {\n\n")
  foreach(pair ${TEXTS})
    string(REGEX MATCH "^([^=]+)=(.+)$" pair "${pair}")  # a path may hold another "="
    set(function ${CMAKE_MATCH_1})
    set(file "${CMAKE_MATCH_2}")
    file(READ "${file}" text)
    string(FIND "${text}" ")SF_TEXT\"" found)
    if(NOT found EQUAL -1)
      message(FATAL_ERROR "a text to embed holds )SF_TEXT\", which ends it")
    endif()
    string(APPEND source "std::string_view ${function}() noexcept {\n  return R\"SF_TEXT(${text})SF_TEXT\";\n}\n\n")
  endforeach()
  file(WRITE "${OUTPUT}" "${source}}  // namespace stillframe::store\n")
  return()
endif()

# stillframe_embed(<target> <function>=<file> ...): the functions of store/page_texts.hpp; all of them, since the texts
# share one source.
set(STILLFRAME_EMBED_SCRIPT ${CMAKE_CURRENT_LIST_FILE})
function(stillframe_embed target)
  set(output ${CMAKE_CURRENT_BINARY_DIR}/${target}_pages.cpp)
  set(files ${ARGN})
  list(TRANSFORM files REPLACE "^[^=]+=" "")
  add_custom_command(
    OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} "-DTEXTS=${ARGN}" -DOUTPUT=${output} -P ${STILLFRAME_EMBED_SCRIPT}
    DEPENDS ${files} ${STILLFRAME_EMBED_SCRIPT}
    VERBATIM)
  target_sources(${target} PRIVATE ${output})
endfunction()
