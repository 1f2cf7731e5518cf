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

# Who uses one framing has nothing of the others, nor of the layers, nor of their libraries.
execute_process(COMMAND nm -C ${WORK}/consumer RESULT_VARIABLE failed OUTPUT_VARIABLE symbols)
if(failed OR NOT symbols MATCHES "millrace::LengthPrefix")
  message(FATAL_ERROR "nm did not list what the consumer uses")
endif()
foreach(unused IN ITEMS crc32c Checksummed Compress ZSTD millrace::NetString millrace::HeaderBlock)
  if(symbols MATCHES "${unused}")
    message(FATAL_ERROR "the consumer has ${unused}, which it does not use")
  endif()
endforeach()
