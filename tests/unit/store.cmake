# SPDX-License-Identifier: MIT
foreach(test test_store test_store_crash test_store_timeline)
  jackdaw_unit_test(${test} SOURCES ${test}.c test_store_support.c
    LIBS jackdaw_store PkgConfig::SODIUM)
endforeach()
jackdaw_unit_test(test_store_open SOURCES test_store_open.c test_store_support.c ../support/damage.c
  LIBS jackdaw_store PkgConfig::SODIUM PkgConfig::SQLITE)
jackdaw_unit_test(test_store_faults
  SOURCES test_store_faults.c test_store_support.c ../support/faulty_vfs.c
  LIBS jackdaw_store PkgConfig::SODIUM PkgConfig::SQLITE TIMEOUT 600)
jackdaw_unit_test(test_store_wal_writes
  SOURCES test_store_wal_writes.c test_store_support.c ../support/faulty_vfs.c
  LIBS jackdaw_store PkgConfig::SODIUM PkgConfig::SQLITE)
jackdaw_unit_test(test_store_install
  SOURCES test_store_install.c test_store_support.c ../support/damage.c
  ../support/faulty_calls.c
  LIBS jackdaw_store PkgConfig::SODIUM PkgConfig::SQLITE TIMEOUT 300)
