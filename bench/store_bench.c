/* SPDX-License-Identifier: MIT */
/* store_bench - how fast the store takes messages, without network, chat or replication.
 *
 * usage: store_bench [messages [batch [rooms [sessions [bytes [folder]]]]]]
 *
 * Writes messages (default 300000) of bytes (100) in transactions of batch (1000), spread over
 * rooms (64) and sessions (64), just as the core thread does: an event and an outcome for each
 * message, a log row and a commit for each batch, old log rows pruned. Then single-message
 * transactions for a second, then reads. The database is made in a new folder within folder
 * (default: TMPDIR or /tmp) and removed; choose one on the disk that is to be measured. */
#include "base/clock.h"
#include "base/output.h"
#include "store/store.h"

#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define MESSAGE_KIND 1u
#define LOG_BATCHES_KEPT 256

struct bench {
    struct store *store;
    uint64_t rooms;
    uint64_t sessions;
    size_t bytes;
    uint64_t seq;
    uint64_t *sequence_set; /* last message number of each room */
    uint64_t *requests;     /* last request of each session */
    char *text;
    uint8_t *batch;
    uint64_t random;
};

static void must(struct bench *bench, enum error error, const char *what)
{
    if (error == OK)
        return;
    (void)fprintf(stderr, "store_bench: %s: %s: %s\n", what, error_name(error),
                  bench->store == NULL ? "" : store_last_problem(bench->store));
    exit(1);
}

static uint64_t draw(struct bench *bench)
{
    bench->random ^= bench->random << 13;
    bench->random ^= bench->random >> 7;
    bench->random ^= bench->random << 17;
    return bench->random;
}

/* Ids as chat draws them: spread over all 64 bits. */
static uint64_t id_of(uint64_t index)
{
    return (index + 1) * 0x9E3779B97F4A7C15u;
}

static double cpu_seconds(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static long resident_kib(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file != NULL) {
        if (fscanf(file, "%*s %ld", &pages) != 1)
            pages = 0;
        (void)fclose(file);
    }
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void add_message(struct bench *bench)
{
    uint64_t room = draw(bench) % bench->rooms;
    uint64_t session = draw(bench) % bench->sessions;
    struct timeline_row event = {
        .room = id_of(room),
        .number = ++bench->sequence_set[room],
        .seq = ++bench->seq,
        .kind = MESSAGE_KIND,
        .account = id_of(session + 1000000),
        .session = id_of(session),
        .request = ++bench->requests[session],
        .time_ms = 1700000000000u + bench->seq,
        .text = bench->text,
        .text_size = bench->bytes,
    };
    must(bench, store_add_event(bench->store, &event), "add event");
    struct outcome_row outcome = {
        .session = event.session,
        .request = event.request,
        .room = event.room,
        .number = event.number,
        .seq = event.seq,
        .time_ms = event.time_ms,
        .text = "",
    };
    must(bench, store_put_outcome(bench->store, &outcome), "put outcome");
}

/* Returns how long the commit took. */
static uint64_t write_batch(struct bench *bench, uint64_t count)
{
    uint64_t first = bench->seq + 1;
    must(bench, store_begin(bench->store), "begin");
    for (uint64_t i = 0; i < count; i++)
        add_message(bench);
    struct log_entry row = {.epoch = 65537,
                            .first_seq = first,
                            .last_seq = bench->seq,
                            .bytes = bench->batch,
                            .size = (size_t)count * (bench->bytes + 48)};
    must(bench, store_log_append(bench->store, &row), "append to the log");
    uint64_t start = clock_monotonic_us();
    must(bench, store_commit(bench->store), "commit");
    uint64_t took = clock_monotonic_us() - start;
    if (bench->seq > LOG_BATCHES_KEPT * count)
        store_log_prune(bench->store, bench->seq - LOG_BATCHES_KEPT * count);
    return took;
}

static void bench_batches(struct bench *bench, uint64_t messages, uint64_t batch)
{
    uint64_t slowest = 0;
    uint64_t committing = 0;
    uint64_t batches = messages / batch;
    double cpu = cpu_seconds();
    uint64_t start = clock_monotonic_us();
    for (uint64_t i = 0; i < batches; i++) {
        uint64_t took = write_batch(bench, batch);
        committing += took;
        slowest = took > slowest ? took : slowest;
    }
    double seconds = (double)(clock_monotonic_us() - start) / 1e6;
    cpu = cpu_seconds() - cpu;
    double written = (double)(batches * batch);
    (void)printf("batches of %" PRIu64 ": %.0f messages/s; per message %.2f us, %.2f us of it CPU, "
                 "%.2f us in commit; slowest commit %.1f ms\n",
                 batch, written / seconds, seconds / written * 1e6, cpu / written * 1e6,
                 (double)committing / written, (double)slowest / 1e3);
}

static void bench_single(struct bench *bench)
{
    uint64_t slowest = 0;
    uint64_t count = 0;
    uint64_t start = clock_monotonic_us();
    uint64_t end = start + 1000000;
    for (; clock_monotonic_us() < end; count++) {
        uint64_t took = write_batch(bench, 1);
        slowest = took > slowest ? took : slowest;
    }
    double seconds = (double)(clock_monotonic_us() - start) / 1e6;
    (void)printf("batches of 1: %.0f transactions/s; slowest commit %.1f ms\n",
                 (double)count / seconds, (double)slowest / 1e3);
}

static enum error ignore_event(void *context, const struct timeline_row *row)
{
    (void)row;
    ++*(uint64_t *)context;
    return OK;
}

static enum error ignore_outcome(void *context, const struct outcome_row *row)
{
    (void)row;
    ++*(uint64_t *)context;
    return OK;
}

/* Every answer to a sender asks for one, just after its commit. */
static void bench_outcomes(struct bench *bench)
{
    const unsigned rounds = 20000;
    uint64_t rows = 0;
    uint64_t start = clock_monotonic_us();
    for (unsigned i = 0; i < rounds; i++) {
        uint64_t session = draw(bench) % bench->sessions;
        uint64_t back = draw(bench) % 8;
        uint64_t last = bench->requests[session];
        must(bench,
             store_get_outcome(bench->store, id_of(session), last > back ? last - back : last,
                               ignore_outcome, &rows),
             "get outcome");
    }
    (void)printf("a recent outcome: %.2f us\n", (double)(clock_monotonic_us() - start) / rounds);
}

static void bench_reads(struct bench *bench)
{
    const unsigned rounds = 2000;
    uint64_t rows = 0;
    uint64_t start = clock_monotonic_us();
    for (unsigned i = 0; i < rounds; i++)
        must(bench,
             store_messages_before(bench->store, id_of(draw(bench) % bench->rooms), MESSAGE_KIND, 0,
                                   10, ignore_event, &rows),
             "read messages");
    uint64_t middle = clock_monotonic_us();
    for (unsigned i = 0; i < rounds; i++)
        must(bench,
             store_events_after(bench->store, id_of(draw(bench) % bench->rooms),
                                draw(bench) % bench->seq, bench->seq, 10, ignore_event, &rows),
             "read events");
    uint64_t end = clock_monotonic_us();
    (void)printf("last 10 messages of a room: %.1f us; 10 events from anywhere: %.1f us\n",
                 (double)(middle - start) / rounds, (double)(end - middle) / rounds);
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    return remove(path);
}

static uint64_t argument(int count, char **values, int index, uint64_t otherwise)
{
    uint64_t value = index < count ? strtoull(values[index], NULL, 10) : otherwise;
    return value == 0 ? otherwise : value;
}

int main(int count, char **values)
{
    output_open_standard();
    const char *parent = getenv("TMPDIR") == NULL ? "/tmp" : getenv("TMPDIR");
    char folder[4096];
    (void)snprintf(folder, sizeof folder, "%s/store_bench.XXXXXX", count > 6 ? values[6] : parent);
    if (mkdtemp(folder) == NULL) {
        perror(folder);
        return 1;
    }
    uint64_t messages = argument(count, values, 1, 300000);
    uint64_t batch = argument(count, values, 2, 1000);
    struct bench bench = {.rooms = argument(count, values, 3, 64),
                          .sessions = argument(count, values, 4, 64),
                          .bytes = argument(count, values, 5, 100),
                          .random = 88172645463325252u};
    bench.sequence_set = calloc(bench.rooms, sizeof *bench.sequence_set);
    bench.requests = calloc(bench.sessions, sizeof *bench.requests);
    bench.text = malloc(bench.bytes);
    bench.batch = malloc(batch * (bench.bytes + 48));
    if (bench.sequence_set == NULL || bench.requests == NULL || bench.text == NULL ||
        bench.batch == NULL)
        must(&bench, ERROR_NO_MEMORY, "start");
    memset(bench.text, 'x', bench.bytes);
    memset(bench.batch, 'y', batch * (bench.bytes + 48));

    struct error_text why;
    struct store_options options = {.folder = folder, .node_id = 1};
    if (store_open(&bench.store, &options, &why) != OK) {
        (void)fprintf(stderr, "store_bench: %s\n", why.text);
        return 1;
    }
    (void)printf("%" PRIu64 " rooms, %" PRIu64
                 " sessions, %zu bytes; resident after opening %ld KiB\n",
                 bench.rooms, bench.sessions, bench.bytes, resident_kib());
    bench_batches(&bench, messages, batch);
    bench_single(&bench);
    bench_reads(&bench);
    bench_outcomes(&bench);
    (void)printf("resident at the end %ld KiB\n", resident_kib());
    store_close(bench.store);
    (void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(bench.sequence_set);
    free(bench.requests);
    free(bench.text);
    free(bench.batch);
    return 0;
}
