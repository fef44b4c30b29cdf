# SPDX-License-Identifier: MIT
jackdaw_unit_test(test_options SOURCES test_options.c LIBS jackdaw_base)
jackdaw_unit_test(test_client_parts SOURCES test_client_parts.c LIBS jackdaw_client)
jackdaw_unit_test(test_client_terminal SOURCES test_client_terminal.c LIBS jackdaw_cli)
jackdaw_unit_test(test_client_commands SOURCES test_client_commands.c LIBS jackdaw_cli)
foreach(test session stream replay failover)
  jackdaw_unit_test(test_client_${test}
    SOURCES test_client_${test}.c ../support/client_world.c ../support/fake_chat.c ../support/suppressions.c
    LIBS jackdaw_client jackdaw_rpc)
endforeach()
target_compile_definitions(test_client_session PRIVATE TLS_FILES="${CMAKE_SOURCE_DIR}/tests/support/tls")
jackdaw_unit_test(test_client_state_file
  SOURCES test_client_state_file.c ../support/faulty_calls.c ../support/folder.c
  LIBS jackdaw_client ${CMAKE_DL_LIBS})
jackdaw_unit_test(test_client_persist
  SOURCES test_client_persist.c ../support/client_world.c ../support/fake_chat.c ../support/suppressions.c ../support/folder.c
  LIBS jackdaw_client jackdaw_rpc)
jackdaw_unit_test(test_client_app
  SOURCES test_client_app.c ../support/client_world.c ../support/fake_chat.c ../support/suppressions.c ../support/folder.c
  LIBS jackdaw_cli jackdaw_rpc PkgConfig::JANSSON)
