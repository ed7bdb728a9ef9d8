#include "orchestrator/bench/http.h"

#include "common/base/cleanup.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TIMEOUT_MS   120000
#define POLL_MS      1000
#define ANSWER_SHOWN 120

struct bench_http {
    CURLM *multi;
};

/* One request under way. */
struct exchange {
    struct bench_request *request;
    CURL *easy;
    struct curl_slist *fields;
};

struct bench_http *bench_http_new(void)
{
    struct bench_http *h = calloc(1, sizeof(*h));
    if (!h || curl_global_init(CURL_GLOBAL_DEFAULT) != 0 || !(h->multi = curl_multi_init())) {
        free(h);
        return NULL;
    }
    return h;
}

void bench_http_free(struct bench_http *h)
{
    if (!h)
        return;
    curl_multi_cleanup(h->multi);
    curl_global_cleanup();
    free(h);
}

static size_t on_body(char *data, size_t size, size_t n, void *user)
{
    struct bench_request *r = user;
    if (buf_len(&r->answer) + n > BENCH_HTTP_BODY_MAX)
        return 0;
    buf_append(&r->answer, data, n);
    return r->answer.failed ? 0 : size * n;
}

static size_t on_field(char *data, size_t size, size_t n, void *user)
{
    static const char name[] = "server-timing:";
    struct bench_request *r = user;
    if (n > sizeof(name) && strncasecmp(data, name, sizeof(name) - 1) == 0) {
        struct str value = str_trim((struct str){ data + sizeof(name) - 1, n - sizeof(name) + 1 });
        snprintf(r->timing, sizeof(r->timing), "%.*s", STR_ARG(value));
    }
    return size * n;
}

static bool begin(struct bench_http *h, struct exchange *x)
{
    struct bench_request *r = x->request;
    CURL *e = x->easy = curl_easy_init();
    if (!e)
        return false;
    for (size_t i = 0; i < BENCH_HTTP_FIELDS_MAX && r->fields[i]; i++) {
        struct curl_slist *more = curl_slist_append(x->fields, r->fields[i]);
        if (!more)
            return false;
        x->fields = more;
    }
    curl_easy_setopt(e, CURLOPT_URL, r->url);
    curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, r->method);
    curl_easy_setopt(e, CURLOPT_PROXY, ""); /* the daemon is on this machine */
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, x->fields);
    if (r->body) {
        curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_n);
        curl_easy_setopt(e, CURLOPT_POSTFIELDS, r->body);
    }
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, r);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_field);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, r);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)TIMEOUT_MS);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_PRIVATE, x);
    return curl_multi_add_handle(h->multi, e) == CURLM_OK;
}

static void finish(struct exchange *x, CURLcode code)
{
    struct bench_request *r = x->request;
    long status = 0;
    curl_off_t us = 0;
    curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(x->easy, CURLINFO_TOTAL_TIME_T, &us);
    r->ms = (double)us / 1000;
    if (code != CURLE_OK)
        err_fill(&r->err, ERR_UNAVAILABLE, "%s %s: %s", r->method, r->url,
                 curl_easy_strerror(code));
    else if (status != r->expected)
        err_fill(&r->err, ERR_INTERNAL, "%s %s: HTTP %ld: %.*s", r->method, r->url, status,
                 ANSWER_SHOWN, r->answer.len ? (const char *)buf_head(&r->answer) : "");
}

/* Turn until nothing is under way. */
static void turn(struct bench_http *h)
{
    int running = 1, left;
    while (running > 0) {
        if (curl_multi_perform(h->multi, &running) != CURLM_OK ||
            (running > 0 && curl_multi_poll(h->multi, NULL, 0, POLL_MS, NULL) != CURLM_OK))
            return;
        for (CURLMsg *m; (m = curl_multi_info_read(h->multi, &left));) {
            struct exchange *x;
            curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &x);
            finish(x, m->data.result);
        }
    }
}

int bench_http_send(struct bench_http *h, struct bench_request *requests, size_t n, struct err *err)
{
    AUTO_FREE struct exchange *all = calloc(n, sizeof(*all));
    int rc = 0;
    if (!all)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    for (size_t i = 0; i < n; i++) {
        all[i].request = &requests[i];
        /* Whoever is never finished failed. */
        err_fill(&requests[i].err, ERR_EXHAUSTED, "out of memory sending a request");
        if (begin(h, &all[i]))
            requests[i].err = (struct err){ 0 };
    }
    turn(h);
    for (size_t i = 0; i < n; i++) {
        if (all[i].easy) {
            curl_multi_remove_handle(h->multi, all[i].easy);
            curl_easy_cleanup(all[i].easy);
        }
        curl_slist_free_all(all[i].fields);
        if (requests[i].err.code && rc == 0) {
            *err = requests[i].err;
            rc = -EIO;
        }
    }
    return rc;
}

void bench_request_deinit(struct bench_request *r)
{
    buf_deinit(&r->answer);
}
