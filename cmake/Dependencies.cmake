# SPDX-License-Identifier: MIT
# Every library the project links, each as one imported target. README.md names the purpose of each.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(PROTOBUF_C REQUIRED IMPORTED_TARGET libprotobuf-c>=1.4)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3>=3.40)
pkg_check_modules(SODIUM REQUIRED IMPORTED_TARGET libsodium>=1.0.18)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc>=2.6)
pkg_check_modules(EDIT REQUIRED IMPORTED_TARGET libedit)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson>=2.14)
find_program(PROTOC_C protoc-c REQUIRED)

# nng: 1.12 or newer. The system's where it is new enough, otherwise the copy that
# scripts/get_nng.sh unpacks into third_party/ (ignored by git).
set(JACKDAW_NNG_MINIMUM 1.12)
set(JACKDAW_NNG_ROOT ${CMAKE_SOURCE_DIR}/third_party/nng CACHE PATH "Where scripts/get_nng.sh put nng")
find_package(nng ${JACKDAW_NNG_MINIMUM} CONFIG QUIET)
add_library(jackdaw_nng INTERFACE)
if(nng_FOUND)
  # src/rpc does TLS itself, with the library that nng uses.
  pkg_check_modules(MBEDTLS REQUIRED IMPORTED_TARGET mbedtls>=3.6 mbedx509 mbedcrypto)
  target_link_libraries(jackdaw_nng INTERFACE nng::nng PkgConfig::MBEDTLS)
  message(STATUS "nng ${nng_VERSION}: the system's")
else()
  file(GLOB JACKDAW_NNG_LIBDIR ${JACKDAW_NNG_ROOT}/usr/lib/*-linux-gnu*)
  if(NOT EXISTS ${JACKDAW_NNG_ROOT}/usr/include/nng/nng.h OR NOT JACKDAW_NNG_LIBDIR)
    message(FATAL_ERROR
      "nng ${JACKDAW_NNG_MINIMUM} or newer is needed and the system has none. "
      "Run scripts/get_nng.sh (or 'make build', which does it) and configure again.")
  endif()
  target_include_directories(jackdaw_nng SYSTEM INTERFACE ${JACKDAW_NNG_ROOT}/usr/include)
  target_link_libraries(jackdaw_nng INTERFACE
    ${JACKDAW_NNG_LIBDIR}/libnng.a ${JACKDAW_NNG_LIBDIR}/libmbedtls.a
    ${JACKDAW_NNG_LIBDIR}/libmbedx509.a ${JACKDAW_NNG_LIBDIR}/libmbedcrypto.a Threads::Threads)
  target_compile_definitions(jackdaw_nng INTERFACE NNG_STATIC_LIB)
  # The copy was built on a newer glibc: what this one lacks is in src/rpc/glibc_compat.c.
  include(CheckSymbolExists)
  check_symbol_exists(strlcpy string.h JACKDAW_HAVE_STRLCPY)
  set(JACKDAW_NNG_NEEDS_COMPAT TRUE)
  if(JACKDAW_HAVE_STRLCPY)
    set(JACKDAW_NNG_NEEDS_COMPAT FALSE)
  endif()
  message(STATUS "nng: the private copy in ${JACKDAW_NNG_ROOT}")
endif()
