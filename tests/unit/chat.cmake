# SPDX-License-Identifier: MIT
add_library(chat_world STATIC
  ${CMAKE_SOURCE_DIR}/tests/support/chat_world.c ${CMAKE_SOURCE_DIR}/tests/support/folder.c)
target_include_directories(chat_world PRIVATE ${CMAKE_SOURCE_DIR}/tests)
target_link_libraries(chat_world PUBLIC jackdaw_chat PRIVATE PkgConfig::CMOCKA)

jackdaw_unit_test(test_chat_names SOURCES test_chat_names.c LIBS jackdaw_chat)
jackdaw_unit_test(test_chat_account SOURCES test_chat_account.c LIBS chat_world)
jackdaw_unit_test(test_chat_room SOURCES test_chat_room.c LIBS chat_world)
jackdaw_unit_test(test_chat_message SOURCES test_chat_message.c LIBS chat_world)
jackdaw_unit_test(test_chat_request SOURCES test_chat_request.c LIBS chat_world)
jackdaw_unit_test(test_chat_presence SOURCES test_chat_presence.c LIBS chat_world)
jackdaw_unit_test(test_chat_list SOURCES test_chat_list.c LIBS chat_world)
jackdaw_unit_test(test_chat_read SOURCES test_chat_read.c LIBS chat_world)
jackdaw_unit_test(test_chat_model SOURCES test_chat_model.c LIBS chat_world)
jackdaw_unit_test(test_chat_first SOURCES test_chat_first.c LIBS chat_world)
jackdaw_unit_test(test_chat_apply SOURCES test_chat_apply.c LIBS chat_world TIMEOUT 300)
jackdaw_unit_test(test_chat_takeover SOURCES test_chat_takeover.c LIBS chat_world)
jackdaw_unit_test(test_chat_takeover_model SOURCES test_chat_takeover_model.c LIBS chat_world)
jackdaw_unit_test(test_chat_memory
  SOURCES test_chat_memory.c ${CMAKE_SOURCE_DIR}/tests/support/faulty_alloc.c LIBS chat_world)
target_link_options(test_chat_memory PRIVATE
  LINKER:--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=reallocarray,--wrap=strdup)
jackdaw_unit_test(test_chat_speed SOURCES test_chat_speed.c LIBS chat_world)
target_link_options(test_chat_speed PRIVATE LINKER:--wrap=store_add_event,--wrap=store_put_outcome)
