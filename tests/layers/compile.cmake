# Compiles a source that includes SOURCE, with INCLUDES as its include path, and compares the outcome
# with EXPECTED: compiles, or fails because the header is not found.
file(MAKE_DIRECTORY ${WORK})
file(WRITE ${WORK}/probe.cc "#include <${SOURCE}>\nint main() {}\n")
string(REPLACE "|" ";" INCLUDES "${INCLUDES}")
list(TRANSFORM INCLUDES PREPEND "-I")
execute_process(
  COMMAND ${COMPILER} -std=c++20 -fsyntax-only ${INCLUDES} ${WORK}/probe.cc
  RESULT_VARIABLE failed
  ERROR_VARIABLE message)
if(EXPECTED STREQUAL "compiles")
  if(failed)
    message(FATAL_ERROR "<${SOURCE}> should have compiled:\n${message}")
  endif()
elseif(NOT failed)
  message(FATAL_ERROR "<${SOURCE}> compiled, but is not to be seen from here")
elseif(NOT message MATCHES "${SOURCE}: No such file|'${SOURCE}' file not found")
  message(FATAL_ERROR "failed for another reason than a header that is not found:\n${message}")
endif()
