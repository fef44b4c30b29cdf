#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# check_layers.sh on small made-up trees: the good one passes, and each way of being bad is found.
set -euo pipefail
check=$(dirname "$(realpath "${BASH_SOURCE[0]}")")/check_layers.sh
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failures=0

# A tree that keeps the rules, with words in comments and strings that would break them as code.
make_tree() {
  rm -rf "$folder/tree"
  mkdir -p "$folder/tree/src"/{base,rpc,store,replication,server}
  cd "$folder/tree"
  cat >ARCHITECTURE.md <<'END'
# A document

```
base: this block is not the one
```

```layers
base:                               # the lowest
proto:
rpc: base proto/Envelope <nng/*>
store: base <sqlite3.h>
replication: base
replication only: <stdint.h>
  <string.h>
replication never: base/clock.h *rand*( time(
server: base proto rpc
  store replication
```
END
  printf '#include <time.h>\n' >src/base/clock.h
  printf '#include "base/clock.h"\n#include <stdio.h>\n' >src/base/clock.c
  printf '#include "base/clock.h"\n#include "spec.pb-c.h"\n#include <nng/nng.h>\nJackdaw__Envelope *e; int k = JACKDAW__ENVELOPE__KIND__REQUEST;\n' >src/rpc/channel.c
  printf '#include <sqlite3.h>\n#include "store.h"\n' >src/store/store.c
  printf 'int x;\n' >src/store/store.h
  cat >src/replication/replica.c <<'END'
#include <stdint.h>
#include <string.h>
/* No time(NULL), no rand() here.
 * #include <time.h>
 */
// "random()
const char *s = "time(NULL) \" rand()"; char q = '"'; int time; /* a */ int uptime(int);
END
  printf '#include "rpc/x.h"\n#include "../store/store.h"\n#include "spec.pb-c.h"\nJackdaw__Delta *d; long t = time(0);\n' >src/server/core.c
  printf 'int y;\n' >src/rpc/x.h
}

# expect STATUS TEXT: what the check says of the tree.
expect() {
  local status=0 said
  said=$("$check" "$folder/tree" 2>&1) || status=$?
  if ((status != $1)) || [[ $said != *"$2"* ]]; then
    printf 'expected status %s and "%s", got status %s and:\n%s\n\n' "$1" "$2" "$status" "$said" >&2
    failures=$((failures + 1))
  fi
  make_tree
}

# add FILE LINE
add() { printf '%s\n' "$2" >>"$1"; }

make_tree
expect 0 "keep to the layers"

add src/base/clock.c '#include "store/store.h"'
expect 1 'src/base/clock.c:3: base must not include store ("store/store.h")'
add src/store/store.c '#include "../rpc/x.h"'
expect 1 'store must not include rpc'
add src/store/store.c ' #  include <nng/protocol/reqrep0/req.h>'
expect 1 'store must not include <nng/protocol/reqrep0/req.h>'
add src/server/core.c '#include <sqlite3.h>'
expect 1 'server must not include <sqlite3.h>'
add src/server/core.c '#include "nowhere/x.h"'
expect 1 'is in no layer'
add src/server/core.c '#include "sqlite3.h"'
expect 1 'is in no layer'
add src/server/core.c '#include "version.h"'
expect 0 'keep to the layers'
add src/store/store.c '#include "spec.pb-c.h"'
expect 1 'store must not include proto'
add src/rpc/channel.c 'Jackdaw__SendRequest *r;'
expect 1 'only Envelope, not Jackdaw__SendRequest'
add src/rpc/channel.c 'int kind = JACKDAW__EVENT__KIND__MESSAGE;'
expect 1 'only Envelope, not JACKDAW__EVENT'
add src/replication/replica.c '#include "base/clock.h"'
expect 1 'replication must never include "base/clock.h"'
add src/replication/replica.c '#include <time.h>'
expect 1 '<time.h> is not among the only headers'
add src/replication/replica.c 'int a = time (0);'
expect 1 'replica.c:8: replication must never call time()'
add src/replication/replica.c '/* a */ int a = random(); /* b'
expect 1 'must never call random()'
mkdir src/extra && add src/extra/x.c 'int x;'
expect 1 'src/extra: ARCHITECTURE.md has no rule'
sed -i 's/^base: .*the lowest/base: store/' ARCHITECTURE.md
expect 1 'base uses store, which is not a layer above it'
sed -i 's/^store: base/store: bass/' ARCHITECTURE.md
expect 1 'store uses bass, which is not a layer above it'
sed -i 's/layers$//' ARCHITECTURE.md
expect 2 'has no block'
sed -i 's/^replication never/replication often/' ARCHITECTURE.md
expect 2 'is no rule'
rm -r src/*/*.[ch]
expect 2 'no C file'

if ((failures > 0)); then
  printf '%d expectations failed.\n' "$failures" >&2
  exit 1
fi
printf 'Every made-up mistake was found.\n'
