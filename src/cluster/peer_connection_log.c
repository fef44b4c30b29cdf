/* SPDX-License-Identifier: MIT */
#include "cluster/peer_connection_log.h"

#include "base/log_pace.h"

static void tell(const char *address, const char *found, const char *hint)
{
    log_warning_paced(address, "cluster", "no_server_there", log_string("address", address),
                      log_string("found", found), log_string("hint", hint));
}

void peer_connection_log_failed(const char *address, enum error error)
{
    static const char compare[] = "compare it with --master_address and with the internal address "
                                  "of the server that should be there";
    switch (error) {
    case ERROR_VERSION:
    case ERROR_CLOSED:
        tell(address, "another program, or an address with TLS", compare);
        break;
    case ERROR_INVALID:
    case ERROR_NOT_FOUND:
        tell(address, "no such host, or no route to it", "look at the name and at the network");
        break;
    case ERROR_FULL:
        tell(address, "no file descriptor is left to dial it with",
             "raise the limit (ulimit -n, LimitNOFILE) or lower --max_clients");
        break;
    default:
        break;
    }
}

void peer_connection_log_silent(const char *address, enum error error)
{
    if (error == ERROR_REFUSED)
        tell(address, "nothing that listens", "start the server that should be there");
    else
        tell(address, "nothing that answers",
             "the server is down or hangs, a firewall is in the way, or another program is there");
}

void peer_connection_log_refused(const char *address, enum status status)
{
    if (status == STATUS_UNIMPLEMENTED)
        tell(address, "the client address of a server",
             "--master_address takes internal addresses: the second one of a server");
}

void peer_connection_log_self(const char *address)
{
    /* The lists of all servers may be the same: then it is no mistake. */
    log_info_paced(address, "cluster", "no_server_there", log_string("address", address),
                   log_string("found", "this server itself"),
                   log_string("hint", "this is right if --master_address names another server, "
                                      "too, or if this server has moved to this address"));
}
