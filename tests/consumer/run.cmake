# Configures, builds and runs the consumer in a build tree of its own.
foreach(step IN ITEMS
        "${CMAKE_COMMAND};-S;${SOURCE};-B;${WORK};-G;Ninja;-DCONSUME_BY=${CONSUME_BY};-DMILLRACE_SOURCE=${MILLRACE_SOURCE};-DCMAKE_CXX_COMPILER=${COMPILER};-DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER}"
        "${CMAKE_COMMAND};--build;${WORK};--target;consumer"
        "${WORK}/consumer")
  execute_process(COMMAND ${step} RESULT_VARIABLE failed OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(failed)
    message(FATAL_ERROR "${step}\n${output}")
  endif()
endforeach()
if(NOT output MATCHES "works")
  message(FATAL_ERROR "the consumer said: ${output}")
endif()
