# SPDX-License-Identifier: MIT
jackdaw_unit_test(test_options SOURCES test_options.c LIBS jackdaw_base)
jackdaw_unit_test(test_client_parts SOURCES test_client_parts.c LIBS jackdaw_client)
foreach(test session stream)
  jackdaw_unit_test(test_client_${test}
    SOURCES test_client_${test}.c ../support/client_world.c ../support/fake_chat.c
    LIBS jackdaw_client jackdaw_rpc)
endforeach()
