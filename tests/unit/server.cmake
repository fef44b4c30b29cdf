# SPDX-License-Identifier: MIT
# The core without its wire: calls are the test's own (fake_call.c stands in for src/rpc).
set(server_desk ../support/desk.c ../support/fake_call.c ../support/folder.c ../support/inbox.c)
jackdaw_unit_test(test_server_ledger
  SOURCES test_server_ledger.c ../support/faulty_vfs.c ${server_desk}
  LIBS jackdaw_server PkgConfig::SQLITE TIMEOUT 300)
jackdaw_unit_test(test_server_ledger_disk
  SOURCES test_server_ledger_disk.c ../support/faulty_vfs.c ${server_desk}
  LIBS jackdaw_server PkgConfig::SQLITE TIMEOUT 300)
target_link_options(test_server_ledger_disk PRIVATE LINKER:--wrap=store_begin)
jackdaw_unit_test(test_server_suspects SOURCES test_server_suspects.c LIBS jackdaw_server jackdaw_nng)
jackdaw_unit_test(test_server_snapshots SOURCES test_server_snapshots.c ${server_desk}
  LIBS jackdaw_server PkgConfig::SQLITE TIMEOUT 300)
target_link_options(test_server_snapshots PRIVATE LINKER:--wrap=statvfs)
jackdaw_unit_test(test_server_handover
  SOURCES test_server_handover.c ../support/faulty_vfs.c ${server_desk}
  LIBS jackdaw_server PkgConfig::SQLITE TIMEOUT 300)
jackdaw_unit_test(test_server_mailbox SOURCES test_server_mailbox.c ${server_desk}
  LIBS jackdaw_server TIMEOUT 300)
jackdaw_unit_test(test_server_mailbox_cluster SOURCES test_server_mailbox_cluster.c ${server_desk}
  LIBS jackdaw_server TIMEOUT 300)
jackdaw_unit_test(test_server_mailbox_model SOURCES test_server_mailbox_model.c ${server_desk}
  LIBS jackdaw_server TIMEOUT 600)
# The whole server in a thread, over loopback.
set(server_live ../support/live_server.c ../support/folder.c ../support/suppressions.c)
jackdaw_unit_test(test_server_calls SOURCES test_server_calls.c ${server_live}
  LIBS jackdaw_server PkgConfig::SODIUM TIMEOUT 300)
jackdaw_unit_test(test_server_wire SOURCES test_server_wire.c ${server_live}
  LIBS jackdaw_server jackdaw_sp_peer PkgConfig::SODIUM TIMEOUT 300)
jackdaw_unit_test(test_server_core SOURCES test_server_core.c ${server_live}
  LIBS jackdaw_server PkgConfig::SODIUM TIMEOUT 300)
jackdaw_unit_test(test_server_cluster_wire SOURCES test_server_cluster_wire.c LIBS jackdaw_server)
jackdaw_unit_test(test_server_operator SOURCES test_server_operator.c ../support/suppressions.c
  LIBS jackdaw_server replica_bench PkgConfig::JANSSON)
target_compile_definitions(test_server_operator PRIVATE
  TLS_FILES="${CMAKE_SOURCE_DIR}/tests/support/tls")
jackdaw_unit_test(test_server_forward SOURCES test_server_forward.c
  LIBS jackdaw_server jackdaw_probe)
target_compile_definitions(test_server_forward PRIVATE
  TLS_FILES="${CMAKE_SOURCE_DIR}/tests/support/tls")
jackdaw_unit_test(test_server_clocks SOURCES test_server_clocks.c LIBS jackdaw_server)
foreach(test test_server_trial test_server_crash_note)
  jackdaw_unit_test(${test} SOURCES ${test}.c ../support/folder.c LIBS jackdaw_server)
endforeach()
jackdaw_unit_test(test_server_group_commit SOURCES test_server_group_commit.c LIBS jackdaw_server)
jackdaw_unit_test(test_server_advertise SOURCES test_server_advertise.c LIBS jackdaw_server)
jackdaw_unit_test(test_server_forwarding SOURCES test_server_forwarding.c ${server_live}
  LIBS jackdaw_server PkgConfig::SODIUM TIMEOUT 300)
jackdaw_unit_test(test_server_options SOURCES test_server_options.c LIBS jackdaw_server)
jackdaw_unit_test(test_server_memory SOURCES test_server_memory.c ${server_desk}
  LIBS jackdaw_server TIMEOUT 300)
target_link_options(test_server_memory PRIVATE
  LINKER:--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=reallocarray)
jackdaw_unit_test(test_server_links SOURCES test_server_links.c ../support/suppressions.c
  LIBS jackdaw_server)
jackdaw_unit_test(test_server_cluster SOURCES test_server_cluster.c ${server_live}
  LIBS jackdaw_server PkgConfig::SODIUM TIMEOUT 300)
target_link_options(test_server_cluster PRIVATE LINKER:--wrap=store_check,--wrap=snapshots_give)
jackdaw_unit_test(test_server_database SOURCES test_server_database.c ../support/damage.c ${server_live}
  LIBS jackdaw_server PkgConfig::SODIUM PkgConfig::SQLITE TIMEOUT 300)
jackdaw_unit_test(test_server_scrub SOURCES test_server_scrub.c ${server_desk}
  LIBS jackdaw_server PkgConfig::SQLITE TIMEOUT 300)
target_link_options(test_server_scrub PRIVATE LINKER:--wrap=clock_gettime)
