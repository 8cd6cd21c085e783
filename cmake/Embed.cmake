# Text files inside the program. As a module: stillframe_embed(). As a script (cmake -P): writes the source, so that a
# changed text is compiled in without a new configuration. The source holds the texts and no path.
if(CMAKE_SCRIPT_MODE_FILE)
  file(READ "${PAGE}" page)
  file(READ "${READER}" reader)
  string(FIND "${page}${reader}" ")SF_TEXT\"" found)
  if(NOT found EQUAL -1)
    message(FATAL_ERROR "a text to embed holds )SF_TEXT\", which ends it")
  endif()
  file(WRITE "${OUTPUT}" "#include \"store/pages.hpp\"\n\nnamespace stillframe::store {\n\n"
                         "std::string_view format_page() noexcept {\n  return R\"SF_TEXT(${page})SF_TEXT\";\n}\n\n"
                         "std::string_view reader_script() noexcept {\n  return R\"SF_TEXT(${reader})SF_TEXT\";\n}\n\n"
                         "}  // namespace stillframe::store\n")
  return()
endif()

# stillframe_embed(<target> <format page> <reader>): format_page() and reader_script() of store/pages.hpp.
set(STILLFRAME_EMBED_SCRIPT ${CMAKE_CURRENT_LIST_FILE})
function(stillframe_embed target page reader)
  set(output ${CMAKE_CURRENT_BINARY_DIR}/${target}_pages.cpp)
  add_custom_command(
    OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -DPAGE=${page} -DREADER=${reader} -DOUTPUT=${output} -P ${STILLFRAME_EMBED_SCRIPT}
    DEPENDS ${page} ${reader} ${STILLFRAME_EMBED_SCRIPT}
    VERBATIM)
  target_sources(${target} PRIVATE ${output})
endfunction()
