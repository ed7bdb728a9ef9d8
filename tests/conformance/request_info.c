/* The request as it was seen, to be told to the client. */
#include "common/base/encode.h"
#include "tests/conformance/conformance.h"

#include <stdlib.h>

#define NEW(arena, type, init) new_message(arena, sizeof(type), &(type)init)

static void *new_message(struct arena *arena, size_t n, const void *init)
{
    void *msg = arena_alloc(arena, n);
    if (!msg)
        abort();
    memcpy(msg, init, n);
    return msg;
}

static void *grown(struct arena *arena, void *items, size_t n)
{
    void **more = arena_alloc(arena, (n + 1) * sizeof(*more));
    if (!more)
        abort();
    if (n)
        memcpy(more, items, n * sizeof(*more));
    return more;
}

/* Add a value to the header of that name, which is made when there is none. */
static void add(struct arena *arena, struct header_list *list, struct str name, struct str value)
{
    conf_header *header = NULL;
    for (size_t i = 0; i < list->n && !header; i++)
        if (str_eq_nocase(str_of(list->items[i]->name), name))
            header = list->items[i];
    if (!header) {
        header = NEW(arena, conf_header, CONNECTRPC__CONFORMANCE__V1__HEADER__INIT);
        header->name = arena_dup(arena, name);
        list->items = grown(arena, list->items, list->n);
        list->items[list->n++] = header;
    }
    header->value = grown(arena, header->value, header->n_value);
    header->value[header->n_value++] = arena_dup(arena, value);
}

static struct str decoded(struct arena *arena, struct str text)
{
    struct buf plain = { 0 };
    if (!percent_decode(&plain, text, true))
        abort();
    size_t n = buf_len(&plain);
    struct str copy = { arena_dup(arena, buf_str(&plain)), n };
    buf_deinit(&plain);
    return copy;
}

static conf_connect_get_info *query_of(struct arena *arena, const struct http_head *head)
{
    struct header_list list = { 0 };
    struct str query = head->target;
    if (!str_eq(head->method, STR("GET")))
        return NULL;
    str_split(&query, '?');
    while (query.p) {
        struct str value = str_split(&query, '&');
        struct str name = str_split(&value, '=');
        add(arena, &list, decoded(arena, name), value.p ? decoded(arena, value) : STR(""));
    }
    conf_connect_get_info *info =
        NEW(arena, conf_connect_get_info,
            CONNECTRPC__CONFORMANCE__V1__CONFORMANCE_PAYLOAD__CONNECT_GET_INFO__INIT);
    info->query_params = list.items;
    info->n_query_params = list.n;
    return info;
}

conf_request_info *request_info(const struct exchange *x, bool whole)
{
    struct arena *arena = rpc_call_arena(x->call);
    const struct http_head *head = rpc_call_head(x->call);
    conf_request_info *info =
        NEW(arena, conf_request_info,
            CONNECTRPC__CONFORMANCE__V1__CONFORMANCE_PAYLOAD__REQUEST_INFO__INIT);
    info->requests = x->requests.items;
    info->n_requests = x->requests.n;
    if (!whole)
        return info;
    struct header_list list = { 0 };
    for (size_t i = 0; i < head->nfields; i++)
        add(arena, &list, head->fields[i].name, head->fields[i].value);
    info->request_headers = list.items;
    info->n_request_headers = list.n;
    info->connect_get_info = query_of(arena, head);
    if (rpc_call_timeout_ms(x->call) > 0) {
        info->_timeout_ms_case =
            CONNECTRPC__CONFORMANCE__V1__CONFORMANCE_PAYLOAD__REQUEST_INFO___TIMEOUT_MS_TIMEOUT_MS;
        info->timeout_ms = rpc_call_timeout_ms(x->call);
    }
    return info;
}
