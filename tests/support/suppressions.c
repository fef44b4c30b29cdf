/* SPDX-License-Identifier: MIT */
/* What the sanitizers are told to pass over in the tests, each with its reason. Compiled into every
 * test that uses the transport; no environment variable is needed. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ADDRESS_SANITIZER 1
#endif
#if __has_feature(thread_sanitizer)
#define WITH_THREAD_SANITIZER 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define WITH_ADDRESS_SANITIZER 1
#endif
#ifdef __SANITIZE_THREAD__
#define WITH_THREAD_SANITIZER 1
#endif

const char *__lsan_default_suppressions(void);
const char *__tsan_default_suppressions(void);

#ifdef WITH_ADDRESS_SANITIZER
/* Two races of nng 1.12 at the end of a connection, both seen in one of several hundred ends:
 *
 * It forgets a TCP connection, and with it the endpoint, when the endpoint is closed in the moment
 * in which that connection's handshake has ended and its callback has not yet run: it then moves the
 * connection to a list that nobody looks at any more. With TLS as well. Our own allocations have none of the frames of
 * the first group below.
 *
 * It forgets a message that it has just received when its connection is closed before the message is
 * handed over: the operation that should do that has been stopped, and drops it. Messages that we
 * received and forgot would have the same frame (the last one below); they show in
 * test_memory__of_calls_that_ended, which counts bytes. */
const char *__lsan_default_suppressions(void)
{
    return "leak:tcptran_listener_init\n"
           "leak:tcptran_ep_bind\n"
           "leak:tcptran_accept_cb\n"
           "leak:tcp_listener_doaccept\n"
           "leak:tcptran_dialer_init\n"
           "leak:tcptran_dial_cb\n"
           "leak:nni_tcp_dial\n"
           "leak:tlstran_ep_init_listener\n"
           "leak:tlstran_ep_init_dialer\n"
           "leak:tlstran_ep_bind\n"
           "leak:tlstran_ep_connect\n"
           "leak:tlstran_accept_cb\n"
           "leak:tlstran_dial_cb\n"
           "leak:nni_tls_listener_alloc\n"
           "leak:tls_listener_accept\n"
           "leak:tls_conn_cb\n"
           "leak:tcptran_pipe_recv_cb\n";
}
#endif

#ifdef WITH_THREAD_SANITIZER
/* A feed's subscribers share a message, and the last of them that has sent it frees it: nng counts
 * them atomically, in code that is not instrumented, so the count is not seen. */
const char *__tsan_default_suppressions(void)
{
    return "race:tcp_dowrite\n"
           "race:nni_msg_free\n";
}
#endif

typedef int suppressions_are_no_empty_unit;
