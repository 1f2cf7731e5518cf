# millrace_add_module(NAME core SOURCES a.cc ... HOT b.cc ... DEPENDS millrace::x ... PRIVATE y ...)
#
# HOT: the sources through which every message passes. They are compiled as one unit, so that the
# compiler can inline across them (it takes a third off the time a message spends in our code).
#
# A static library millrace_NAME, called millrace::NAME. It exports its own include/ and that of what
# it depends on, and nothing else: a header of a higher module is not on its include path, so that an
# upward include does not compile.
function(millrace_add_module)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "NAME" "SOURCES;HOT;DEPENDS;PRIVATE")
  set(target millrace_${arg_NAME})
  add_library(${target} STATIC ${arg_SOURCES} ${arg_HOT})
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
  set_source_files_properties(${arg_HOT} PROPERTIES UNITY_GROUP hot)
  # What is shipped is also built source by source, so that none leans on the includes of another.
  if(MILLRACE_UNITY AND NOT CMAKE_BUILD_TYPE STREQUAL "Release")
    set_source_files_properties(${arg_SOURCES} PROPERTIES UNITY_GROUP rest)
  endif()
  add_library(millrace::${arg_NAME} ALIAS ${target})
  target_include_directories(${target} PUBLIC ${CMAKE_CURRENT_SOURCE_DIR}/include)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_link_libraries(${target} PUBLIC ${arg_DEPENDS} PRIVATE ${arg_PRIVATE})
  # It may end up in a shared library, where nobody replaces our functions one by one: without the
  # second line GCC would have to expect that, and inline none of them.
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  target_compile_options(${target} PRIVATE -fno-semantic-interposition)
  millrace_strict(${target})
endfunction()

# Our own warnings, as errors, when MILLRACE_STRICT is on. Private: consumers do not inherit them.
function(millrace_strict target)
  if(MILLRACE_STRICT)
    target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
      # GCC 12 sees overlapping copies in "text" + std::string (GCC bug 105651).
      target_compile_options(${target} PRIVATE -Wno-restrict)
    endif()
  endif()
endfunction()
