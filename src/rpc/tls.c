/* SPDX-License-Identifier: MIT */
#include "rpc/transport.h"

#include <errno.h>
#include <nng/supplemental/tls/tls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PEM_BYTES_MAX 65536

/* Reads a whole PEM file into fresh memory that the caller frees. */
static enum error read_pem(const char *path, char **out, struct error_text *why)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return error_set(why, error_from_errno(errno), "read %s: %s", path, strerror(errno));
    char *text = malloc(PEM_BYTES_MAX);
    if (text == NULL) {
        (void)fclose(file);
        return error_set(why, ERROR_NO_MEMORY, "read %s: out of memory", path);
    }
    size_t size = fread(text, 1, PEM_BYTES_MAX, file);
    (void)fclose(file);
    if (size == PEM_BYTES_MAX) {
        free(text);
        return error_set(why, ERROR_TOO_LARGE, "%s is larger than a PEM file should be", path);
    }
    text[size] = '\0';
    *out = text;
    return OK;
}

static enum error load_own_certificate(nng_tls_config *config, const struct tls_files *files,
                                       struct error_text *why)
{
    char *certificate = NULL;
    char *key = NULL;
    enum error error = read_pem(files->certificate, &certificate, why);
    if (error == OK)
        error = read_pem(files->key, &key, why);
    if (error == OK && nng_tls_config_own_cert(config, certificate, key, NULL) != 0)
        error = error_set(why, ERROR_INVALID,
                          "%s and %s are no certificate with its private key, both as PEM",
                          files->certificate, files->key);
    free(key);
    free(certificate);
    return error;
}

enum error transport_tls_listener(nng_listener listener, const struct tls_files *files,
                                  struct error_text *why)
{
    if (files->certificate == NULL || files->key == NULL)
        return error_set(why, ERROR_INVALID, "TLS needs a certificate and its key");
    nng_tls_config *config;
    int result = nng_tls_config_alloc(&config, NNG_TLS_MODE_SERVER);
    if (result != 0)
        return error_set(why, transport_error(result), "TLS: %s", nng_strerror(result));
    enum error error = load_own_certificate(config, files, why);
    if (error == OK) {
        result = nng_listener_set_ptr(listener, NNG_OPT_TLS_CONFIG, config);
        error = transport_error(result);
        if (error != OK)
            (void)error_set(why, error, "TLS: %s", nng_strerror(result));
    }
    nng_tls_config_free(config);
    return error;
}

static enum error set_up_client(nng_tls_config *config, const char *server_name,
                                const struct tls_files *files, struct error_text *why)
{
    int result = nng_tls_config_server_name(config, server_name);
    if (result == 0)
        result = nng_tls_config_auth_mode(config, NNG_TLS_AUTH_MODE_REQUIRED);
    if (result != 0)
        return error_set(why, transport_error(result), "TLS: %s", nng_strerror(result));
    result = nng_tls_config_ca_file(config, files->authority);
    if (result != 0)
        return error_set(why, ERROR_INVALID, "%s is no file of PEM certificates: %s",
                         files->authority, nng_strerror(result));
    return OK;
}

enum error transport_tls_dialer(nng_dialer dialer, const char *server_name,
                                const struct tls_files *files, struct error_text *why)
{
    if (files->authority == NULL)
        return error_set(
            why, ERROR_INVALID,
            "a tls+tcp:// address needs the certificate authority to check it against");
    nng_tls_config *config;
    int result = nng_tls_config_alloc(&config, NNG_TLS_MODE_CLIENT);
    if (result != 0)
        return error_set(why, transport_error(result), "TLS: %s", nng_strerror(result));
    enum error error = set_up_client(config, server_name, files, why);
    if (error == OK) {
        result = nng_dialer_set_ptr(dialer, NNG_OPT_TLS_CONFIG, config);
        error = transport_error(result);
        if (error != OK)
            (void)error_set(why, error, "TLS: %s", nng_strerror(result));
    }
    nng_tls_config_free(config);
    return error;
}
