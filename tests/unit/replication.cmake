# SPDX-License-Identifier: MIT
add_library(replica_bench STATIC test_replica_bench.c)
target_link_libraries(replica_bench PUBLIC jackdaw_replication jackdaw_options PRIVATE PkgConfig::CMOCKA)

jackdaw_unit_test(test_replica_members SOURCES test_replica_members.c LIBS replica_bench)
jackdaw_unit_test(test_replica_commit SOURCES test_replica_commit.c LIBS replica_bench)
jackdaw_unit_test(test_replica_election SOURCES test_replica_election.c LIBS replica_bench)
jackdaw_unit_test(test_replica_stream SOURCES test_replica_stream.c LIBS replica_bench)
