#include "orchestrator/api/respond.h"

#define ALLOWED_HEADERS                                                                            \
    "Authorization, X-API-KEY, X-Team-ID, X-Admin-Token, Content-Type, User-Agent, "               \
    "Idempotency-Key, browser, lang, lang_version, package_version, publisher, sdk_runtime, "      \
    "system, machine, os, processor, release"
#define EXPOSED_HEADERS                                                                            \
    "X-Next-Token, X-Total-Running, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, "       \
    "Retry-After, Server-Timing"

size_t api_cors_fields(struct http_field out[static API_CORS_FIELDS])
{
    out[0] = (struct http_field){ STR("access-control-allow-origin"), STR("*") };
    out[1] = (struct http_field){ STR("access-control-expose-headers"), STR(EXPOSED_HEADERS) };
    return API_CORS_FIELDS;
}

void api_respond_preflight(struct api_call *c)
{
    const struct http_field fields[] = {
        { STR("access-control-allow-methods"), STR("GET, POST, PUT, PATCH, DELETE, OPTIONS") },
        { STR("access-control-allow-headers"), STR(ALLOWED_HEADERS) },
        { STR("access-control-max-age"), STR("43200") },
    };
    api_respond_empty(c, 204, fields, sizeof(fields) / sizeof(fields[0]));
}
