# SPDX-License-Identifier: MIT
jackdaw_unit_test(test_base_error SOURCES test_base_error.c LIBS jackdaw_base)
jackdaw_unit_test(test_base_status SOURCES test_base_status.c LIBS jackdaw_base)
jackdaw_unit_test(test_base_address SOURCES test_base_address.c LIBS jackdaw_base)
jackdaw_unit_test(test_base_arena SOURCES test_base_arena.c LIBS jackdaw_base)
jackdaw_unit_test(test_base_task_queue SOURCES test_base_task_queue.c LIBS jackdaw_base)
jackdaw_unit_test(test_base_log SOURCES test_base_log.c LIBS jackdaw_base PkgConfig::JANSSON)
jackdaw_unit_test(test_base_log_writer SOURCES test_base_log_writer.c LIBS jackdaw_base)
jackdaw_unit_test(test_base_log_pace SOURCES test_base_log_pace.c LIBS jackdaw_base)
