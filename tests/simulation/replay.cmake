# SPDX-License-Identifier: MIT
# Runs a few seeds twice and compares their traces. RUN: the simulator.
foreach(seed 7 163 166 1192)
  foreach(turn first second)
    execute_process(COMMAND ${RUN} --seed ${seed} --trace
      OUTPUT_VARIABLE ${turn} RESULT_VARIABLE result)
    if(NOT result EQUAL 0)
      message(FATAL_ERROR "seed ${seed} failed")
    endif()
  endforeach()
  if(NOT first STREQUAL second OR first STREQUAL "")
    message(FATAL_ERROR "seed ${seed} gives two different runs")
  endif()
endforeach()
