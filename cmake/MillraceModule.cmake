# millrace_add_module(NAME core SOURCES a.cc ... DEPENDS millrace::x ...)
#
# A static library millrace_NAME, called millrace::NAME. It exports its own include/ and that of what
# it depends on, and nothing else: a header of a higher module is not on its include path, so that an
# upward include does not compile.
function(millrace_add_module)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "NAME" "SOURCES;DEPENDS;PRIVATE")
  set(target millrace_${arg_NAME})
  add_library(${target} STATIC ${arg_SOURCES})
  add_library(millrace::${arg_NAME} ALIAS ${target})
  target_include_directories(${target} PUBLIC ${CMAKE_CURRENT_SOURCE_DIR}/include)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_link_libraries(${target} PUBLIC ${arg_DEPENDS} PRIVATE ${arg_PRIVATE})
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON)
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
