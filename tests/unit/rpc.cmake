# SPDX-License-Identifier: MIT
# What the tests of src/rpc share: a raw peer, and the server and client of a service of their own.
set(support ${CMAKE_SOURCE_DIR}/tests/support)
set(probe_out ${CMAKE_BINARY_DIR}/generated_tests)
file(MAKE_DIRECTORY ${probe_out})
add_custom_command(
  OUTPUT ${probe_out}/probe.pb-c.c ${probe_out}/probe.pb-c.h
  COMMAND ${PROTOC_C} --c_out=${probe_out} --proto_path=${support} ${support}/probe.proto
  DEPENDS ${support}/probe.proto VERBATIM)
add_library(jackdaw_probe_proto STATIC ${probe_out}/probe.pb-c.c ${probe_out}/probe.pb-c.h)
target_include_directories(jackdaw_probe_proto SYSTEM PUBLIC ${probe_out})
target_link_libraries(jackdaw_probe_proto PUBLIC PkgConfig::PROTOBUF_C)

add_library(jackdaw_sp_peer STATIC ${support}/sp_peer.c)
target_include_directories(jackdaw_sp_peer PUBLIC ${CMAKE_SOURCE_DIR}/tests)
target_link_libraries(jackdaw_sp_peer PUBLIC jackdaw_base)

add_library(jackdaw_probe STATIC ${support}/probe.c)
target_sources(jackdaw_probe INTERFACE ${support}/suppressions.c) # into every test: nothing refers to it
target_include_directories(jackdaw_probe PUBLIC ${CMAKE_SOURCE_DIR}/tests)
target_link_libraries(jackdaw_probe PUBLIC jackdaw_rpc jackdaw_sp_peer jackdaw_probe_proto PkgConfig::CMOCKA)

jackdaw_unit_test(test_rpc_wire SOURCES test_rpc_wire.c LIBS jackdaw_rpc jackdaw_nng)
jackdaw_unit_test(test_rpc_feed SOURCES test_rpc_feed.c ${support}/suppressions.c
  LIBS jackdaw_rpc jackdaw_sp_peer jackdaw_nng)
jackdaw_unit_test(test_rpc_calls SOURCES test_rpc_calls.c LIBS jackdaw_probe)
jackdaw_unit_test(test_rpc_admit SOURCES test_rpc_admit.c LIBS jackdaw_probe)
jackdaw_unit_test(test_rpc_notes SOURCES test_rpc_notes.c LIBS jackdaw_probe)
jackdaw_unit_test(test_rpc_redial SOURCES test_rpc_redial.c LIBS jackdaw_probe)
jackdaw_unit_test(test_rpc_streams SOURCES test_rpc_streams.c LIBS jackdaw_probe)
jackdaw_unit_test(test_rpc_input SOURCES test_rpc_input.c LIBS jackdaw_probe)
jackdaw_unit_test(test_rpc_overload SOURCES test_rpc_overload.c LIBS jackdaw_probe)
jackdaw_unit_test(test_rpc_loss SOURCES test_rpc_loss.c LIBS jackdaw_probe TIMEOUT 300)
jackdaw_unit_test(test_rpc_endpoints SOURCES test_rpc_endpoints.c LIBS jackdaw_probe)
target_compile_definitions(test_rpc_endpoints PRIVATE TLS_FILES="${support}/tls")
jackdaw_unit_test(test_rpc_tls SOURCES test_rpc_tls.c LIBS jackdaw_probe)
target_compile_definitions(test_rpc_tls PRIVATE TLS_FILES="${support}/tls")
jackdaw_unit_test(test_rpc_closing SOURCES test_rpc_closing.c ${support}/jitter.c LIBS jackdaw_probe jackdaw_nng)
target_compile_definitions(test_rpc_closing PRIVATE TLS_FILES="${support}/tls")
jackdaw_unit_test(test_rpc_hung SOURCES test_rpc_hung.c LIBS jackdaw_probe jackdaw_nng)
target_link_options(test_rpc_hung PRIVATE -Wl,--wrap=nng_close)
jackdaw_unit_test(test_rpc_dial SOURCES test_rpc_dial.c LIBS jackdaw_probe jackdaw_nng)
target_compile_definitions(test_rpc_dial PRIVATE TLS_FILES="${support}/tls")
target_link_options(test_rpc_dial PRIVATE -Wl,--wrap=getaddrinfo)
