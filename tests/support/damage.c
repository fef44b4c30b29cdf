/* SPDX-License-Identifier: MIT */
#include "support/damage.h"

#include "support/test.h"

#include <sqlite3.h>

void damage_execute(const char *path, const char *sql)
{
    sqlite3 *database = NULL;
    char *problem = NULL;
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    if (sqlite3_exec(database, sql, NULL, NULL, &problem) != SQLITE_OK)
        fail_msg("%s: %s", sql, problem);
    assert_int_equal(sqlite3_close(database), SQLITE_OK);
}

void damage_loosen(const char *path)
{
    damage_execute(path, "PRAGMA writable_schema = ON;"
                         "UPDATE sqlite_schema SET sql = replace(replace(sql, ' STRICT, WITHOUT',"
                         " ' WITHOUT'), ' STRICT', '');"
                         "UPDATE sqlite_schema SET sql = replace(sql, ' NOT NULL', '')");
}
