# Run by CTest, see CMakeLists.txt for what is handed in. Every step must succeed; the last one runs the program.
function(step name)
  message(STATUS "${name}")
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${name} failed (${result}):\n${output}")
  endif()
  set(step_output "${output}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE ${WORK_DIR})
step("install" ${CMAKE_COMMAND} --install ${BUILD_DIR} --config ${CONFIG} --prefix ${WORK_DIR}/prefix)
foreach(program consumer sample)
  string(TOUPPER ${program} PROGRAM)
  step("configure ${program}" ${CMAKE_COMMAND} -S ${${PROGRAM}_DIR} -B ${WORK_DIR}/${program} -G ${GENERATOR}
    -D CMAKE_BUILD_TYPE=Debug
    -D CMAKE_CXX_COMPILER=${CXX_COMPILER}
    -D CMAKE_CXX_COMPILER_LAUNCHER=${CXX_LAUNCHER}
    -D CMAKE_CXX_FLAGS=${CXX_FLAGS}
    -D CMAKE_PREFIX_PATH=${WORK_DIR}/prefix
    -D CMAKE_FIND_USE_PACKAGE_REGISTRY=OFF)
  step("build ${program}" ${CMAKE_COMMAND} --build ${WORK_DIR}/${program})
endforeach()
cmake_path(GET SAMPLE_DIR FILENAME sample)
step("run sample" ${COMPARE_OUTPUT} ${WORK_DIR}/sample/${sample} ${SAMPLE_DIR}/README.md)
step("run consumer" ${WORK_DIR}/consumer/consumer)
if(NOT step_output MATCHES "squares: 0 1 4 9")
  message(FATAL_ERROR "the program printed:\n${step_output}")
endif()
