#include "orchestrator/api/respond.h"
#include "orchestrator/api/routes.h"

void api_health(struct http_request *r)
{
    api_respond_empty(api_call_of(r), 204, NULL, 0);
}
