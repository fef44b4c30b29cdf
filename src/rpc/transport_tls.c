/* SPDX-License-Identifier: MIT */
/* transport_tls.c - certificates and keys from files, checked before anybody connects. */
#include "base/log.h"
#include "rpc/tls_engine.h"
#include "rpc/transport.h"

#include <errno.h>
#include <mbedtls/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PEM_BYTES_MAX 65536
#define TLS_ERROR_TEXT_SIZE 96

/* Reads a whole PEM file into fresh memory, which the caller wipes and frees. size: with the NUL. */
static enum error read_pem(const char *path, unsigned char **out, size_t *size,
                           struct error_text *why)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return error_set(why, error_from_errno(errno), "read %s: %s", path, strerror(errno));
    unsigned char *text = malloc(PEM_BYTES_MAX);
    if (text == NULL) {
        (void)fclose(file);
        return error_set(why, ERROR_NO_MEMORY, "read %s: out of memory", path);
    }
    (void)setvbuf(file, NULL, _IONBF, 0); /* a key leaves no copy in a buffer */
    errno = 0;
    size_t length = fread(text, 1, PEM_BYTES_MAX, file);
    int problem = ferror(file) != 0 ? errno : 0;
    (void)fclose(file);
    if (problem != 0 || length == PEM_BYTES_MAX) {
        explicit_bzero(text, PEM_BYTES_MAX);
        free(text);
        if (problem != 0)
            return error_set(why, error_from_errno(problem), "read %s: %s", path,
                             strerror(problem));
        return error_set(why, ERROR_TOO_LARGE, "%s is larger than a PEM file should be", path);
    }
    text[length] = '\0';
    *out = text;
    *size = length + 1;
    return OK;
}

static void free_pem(unsigned char *text)
{
    explicit_bzero(text, PEM_BYTES_MAX);
    free(text);
}

/* certificates: initialized. A positive result of Mbed TLS counts certificates that it could not
 * read among others. */
static enum error load_certificates(mbedtls_x509_crt *certificates, const char *path,
                                    struct error_text *why)
{
    unsigned char *text = NULL;
    size_t size = 0;
    enum error error = read_pem(path, &text, &size, why);
    if (error != OK)
        return error;
    int result = mbedtls_x509_crt_parse(certificates, text, size);
    free_pem(text);
    if (result == 0)
        return OK;
    if (result > 0)
        return error_set(why, ERROR_INVALID, "%s: %d of its certificates cannot be read", path,
                         result);
    char reason[TLS_ERROR_TEXT_SIZE];
    mbedtls_strerror(result, reason, sizeof reason);
    return error_set(why, ERROR_INVALID, "%s is no file of PEM certificates: %s", path, reason);
}

static enum error explain_key(int result, const char *path, struct error_text *why)
{
    char reason[TLS_ERROR_TEXT_SIZE];
    if (result == MBEDTLS_ERR_PK_PASSWORD_REQUIRED || result == MBEDTLS_ERR_PK_PASSWORD_MISMATCH)
        return error_set(why, ERROR_INVALID,
                         "%s is encrypted, and a server has nobody to ask for the password: "
                         "decrypt it with: openssl pkey -in %s -out NEW_KEY",
                         path, path);
    mbedtls_strerror(result, reason, sizeof reason);
    return error_set(why, ERROR_INVALID, "%s is no PEM private key: %s", path, reason);
}

static enum error load_key(mbedtls_pk_context *key, const char *path, struct error_text *why)
{
    unsigned char *text = NULL;
    size_t size = 0;
    enum error error = read_pem(path, &text, &size, why);
    if (error != OK)
        return error;
    int result = mbedtls_pk_parse_key(key, text, size, NULL, 0, tls_random, NULL);
    free_pem(text);
    return result == 0 ? OK : explain_key(result, path, why);
}

/* Faults that do not prevent the start of a server, because its own clock may be wrong. */
static void warn_of_dates(const mbedtls_x509_crt *certificates, const char *path)
{
    for (const mbedtls_x509_crt *at = certificates; at != NULL; at = at->next) {
        if (mbedtls_x509_time_is_past(&at->valid_to))
            log_warning("rpc", "certificate_expired", log_string("file", path),
                        log_string("hint", "clients refuse it: renew it, then send SIGHUP"));
        if (mbedtls_x509_time_is_future(&at->valid_from))
            log_warning("rpc", "certificate_not_yet_valid", log_string("file", path),
                        log_string("hint", "clients refuse it: check this machine's clock"));
    }
}

static void warn_of_readers(const char *path)
{
    struct stat status;
    if (stat(path, &status) == 0 && (status.st_mode & S_IRWXO) != 0)
        log_warning("rpc", "key_is_readable_by_others", log_string("file", path),
                    log_string("hint", "take the right away with: chmod o= FILE"));
}

static enum error load_server(struct tls_credentials *credentials, const struct tls_files *files,
                              struct error_text *why)
{
    enum error error = load_certificates(&credentials->certificates, files->certificate, why);
    if (error == OK)
        error = load_key(&credentials->key, files->key, why);
    if (error != OK)
        return error;
    if (mbedtls_pk_check_pair(&credentials->certificates.pk, &credentials->key, tls_random, NULL) !=
        0)
        return error_set(why, ERROR_MISMATCH,
                         "the key %s does not belong to the first certificate in %s: give the "
                         "certificate that was made for this key",
                         files->key, files->certificate);
    warn_of_dates(&credentials->certificates, files->certificate);
    warn_of_readers(files->key);
    return OK;
}

/* *out: ended with tls_credentials_drop. */
static enum error load(struct tls_credentials **out, const struct tls_files *files,
                       struct error_text *why)
{
    bool is_server = files->authority == NULL;
    struct tls_credentials *credentials = tls_credentials_new(is_server);
    if (credentials == NULL)
        return error_set(why, ERROR_NO_MEMORY, "TLS: out of memory");
    enum error error = is_server
                           ? load_server(credentials, files, why)
                           : load_certificates(&credentials->certificates, files->authority, why);
    if (error == OK) {
        error = tls_credentials_seal(credentials);
        if (error != OK)
            (void)error_set(why, error, "TLS: %s", error_name(error));
    }
    if (error == OK)
        *out = credentials;
    else
        tls_credentials_drop(credentials);
    return error;
}

static enum error check_files(const struct tls_files *files, const char *server_name,
                              struct error_text *why)
{
    if (server_name != NULL && files->authority == NULL)
        return error_set(
            why, ERROR_INVALID,
            "a tls+tcp:// address needs the certificate authority to check it against");
    if (server_name == NULL && (files->certificate == NULL || files->key == NULL))
        return error_set(why, ERROR_INVALID, "TLS needs a certificate and its key");
    return OK;
}

enum error transport_tls_open(struct tls_endpoint **out, const struct tls_files *files,
                              const char *server_name, handshake_failed *failed, void *context,
                              struct error_text *why)
{
    struct tls_credentials *credentials = NULL;
    enum error error = check_files(files, server_name, why);
    if (error == OK)
        error = load(&credentials, files, why);
    if (error != OK)
        return error;
    error = tls_endpoint_new(out, credentials, server_name, failed, context);
    return error == OK ? OK : error_set(why, error, "TLS: %s", error_name(error));
}

enum error transport_tls_reread(struct tls_endpoint *endpoint, const struct tls_files *files,
                                struct error_text *why)
{
    struct tls_credentials *credentials = NULL;
    enum error error = load(&credentials, files, why);
    if (error == OK)
        tls_endpoint_exchange(endpoint, credentials);
    return error;
}

static enum error explain(int result, struct error_text *why)
{
    return result == 0 ? OK
                       : error_set(why, transport_error(result), "TLS: %s", nng_strerror(result));
}

enum error transport_tls_listener(nng_listener listener, struct tls_endpoint *endpoint,
                                  struct error_text *why)
{
    nng_tls_config *config;
    int result = tls_endpoint_configure(endpoint, &config);
    if (result != 0)
        return explain(result, why);
    result = nng_listener_set_ptr(listener, NNG_OPT_TLS_CONFIG, config);
    nng_tls_config_free(config);
    return explain(result, why);
}

enum error transport_tls_dialer(nng_dialer dialer, struct tls_endpoint *endpoint,
                                struct error_text *why)
{
    nng_tls_config *config;
    int result = tls_endpoint_configure(endpoint, &config);
    if (result != 0)
        return explain(result, why);
    result = nng_dialer_set_ptr(dialer, NNG_OPT_TLS_CONFIG, config);
    nng_tls_config_free(config);
    return explain(result, why);
}
