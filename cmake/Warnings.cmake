# SPDX-License-Identifier: MIT
# jackdaw_options: warnings, sanitizers and feature macros for every target of the project.
add_library(jackdaw_options INTERFACE)
target_compile_options(jackdaw_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes
  -Wformat=2 -Wundef -Wvla -fno-strict-aliasing)
target_compile_definitions(jackdaw_options INTERFACE _GNU_SOURCE HASH_NONFATAL_OOM=1)
target_include_directories(jackdaw_options INTERFACE ${CMAKE_SOURCE_DIR}/src)
if(JACKDAW_WERROR)
  target_compile_options(jackdaw_options INTERFACE -Werror)
endif()
if(JACKDAW_SANITIZE)
  target_compile_options(jackdaw_options INTERFACE
    -fsanitize=${JACKDAW_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(jackdaw_options INTERFACE -fsanitize=${JACKDAW_SANITIZE})
endif()
