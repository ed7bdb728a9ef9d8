/* Which images spares are kept for, and how many. */
#include "common/base/log.h"
#include "orchestrator/sandbox/restore.h"
#include "orchestrator/sandbox/spare.h"

#include <stdio.h>

/* Spares are made while so much memory stays for sandboxes that are asked for. */
#define MEMORY_LEFT_MB 1024

struct pool_image {
    struct list node; /* of pool->images, the last used first */
    struct source *source;
};

/* Whether VMs of the two are the same until they have an identity: a fork stands on the build of
 * its parent, but not on the memory and the disk of that. */
static bool same_start(const struct source *a, const struct source *b)
{
    return strcmp(a->snapshot_dir, b->snapshot_dir) == 0;
}

static size_t count(const struct pool *p, const struct source *source, bool hot)
{
    size_t n = 0;
    list_for_each (node, &p->spares) {
        const struct spare *s = container_of(node, struct spare, node);
        n += sm_state(&s->sm) != SPARE_UNDO && s->hot == hot && same_start(s->source, source);
    }
    return n;
}

static void on_timer(uv_timer_t *timer)
{
    struct pool *p = container_of(timer, struct pool, timer);
    const struct config *c = p->host->config;
    struct err err;
    if (p->making || p->stopping)
        return;
    if (!list_empty(&p->host->creating)) {
        pool_refill(p, REFILL_DELAY_MS);
        return;
    }
    if (sandbox_host_admit(p->host, NULL, &err) < 0 || host_memory_available_mb() < MEMORY_LEFT_MB)
        return; /* the next create that ends comes here again */
    list_for_each (node, &p->images) {
        struct source *source = container_of(node, struct pool_image, node)->source;
        bool hot = count(p, source, true) < c->pool_hot;
        if (hot || count(p, source, false) < c->pool_waiting) {
            spare_make(p, source, hot);
            return;
        }
    }
}

void pool_refill(struct pool *p, unsigned ms)
{
    if (!p->stopping && (p->host->config->pool_hot || p->host->config->pool_waiting))
        uv_timer_start(&p->timer, on_timer, ms, 0);
}

void pool_size(const struct sandbox_host *h, struct pool_size *out)
{
    *out = (struct pool_size){ 0 };
    list_for_each (node, &h->pool->spares) {
        const struct spare *s = container_of(node, struct spare, node);
        if (sm_state(&s->sm) == SPARE_READY)
            (*(s->hot ? &out->hot : &out->waiting))++;
    }
}

struct sandbox_own *pool_claim(struct sandbox_host *h, const struct source *source, bool *hot)
{
    struct spare *best = NULL;
    list_for_each (node, &h->pool->spares) {
        struct spare *s = container_of(node, struct spare, node);
        if (sm_state(&s->sm) == SPARE_READY && same_start(s->source, source) &&
            (!best || s->hot > best->hot))
            best = s;
    }
    if (!best)
        return NULL;
    struct sandbox_own *own = best->own;
    *hot = best->hot;
    own->spare = NULL;
    vmm_set_background(own->sb.vmm, false);
    list_remove(&best->node);
    source_unref(best->source);
    free(best);
    return own;
}

static void forget_image(struct pool_image *image)
{
    list_remove(&image->node);
    source_unref(image->source);
    free(image);
}

/* Spares of images that are not kept any more. */
static void drop_strangers(struct pool *p)
{
    list_for_each (node, &p->spares) {
        struct spare *s = container_of(node, struct spare, node);
        bool wanted = false;
        list_for_each (other, &p->images)
            wanted |= same_start(container_of(other, struct pool_image, node)->source, s->source);
        if (!wanted && sm_state(&s->sm) == SPARE_READY)
            spare_drop(s);
    }
}

static bool same_row(const struct store_build *a, const struct store_build *b)
{
    return strcmp(a->id, b->id) == 0 && a->vcpus == b->vcpus && a->memory_mb == b->memory_mb &&
           a->disk_mb == b->disk_mb;
}

struct source *pool_source(const struct sandbox_host *h, const struct store_build *image)
{
    list_for_each (node, &h->pool->images) {
        struct source *s = container_of(node, struct pool_image, node)->source;
        if (!s->diff && same_row(&s->build, image))
            return s;
    }
    return NULL;
}

void pool_used_by(const struct sandbox_own *own)
{
    struct pool *p = own->sb.host->pool;
    list_for_each_safe (node, &p->images) {
        const struct pool_image *image = container_of(node, struct pool_image, node);
        if (image->source->diff || strcmp(image->source->image_build_id, own->image_build_id) != 0)
            continue;
        list_remove(node);
        list_push_front(&p->images, node);
        break;
    }
    pool_refill(p, REFILL_DELAY_MS);
}

void pool_used(struct sandbox_host *h, struct source *source)
{
    struct pool *p = h->pool;
    size_t n = 0;
    if (p->stopping || !source->snapshot_dir[0])
        return;
    list_for_each_safe (node, &p->images) {
        struct pool_image *image = container_of(node, struct pool_image, node);
        bool same = strcmp(image->source->build.template_id, source->build.template_id) == 0;
        if (same || ++n >= POOL_IMAGES)
            forget_image(image);
    }
    struct pool_image *image = calloc(1, sizeof(*image));
    if (image) {
        image->source = source_ref(source);
        list_push_front(&p->images, &image->node);
    }
    drop_strangers(p);
    pool_refill(p, REFILL_DELAY_MS);
}

static void on_default_source(void *user, struct source *source, const struct err *err)
{
    struct sandbox_host *h = user;
    h->busy--;
    if (err)
        log_warn("no spares of the default template are made", LOG_STR("reason", err->msg));
    if (source && !h->stopping)
        pool_used(h, source);
    source_unref(source);
    sandbox_host_check_stop(h);
}

static void on_default_template(void *user, const struct store_build *build, const struct err *err)
{
    struct sandbox_host *h = user;
    if (err || h->stopping) { /* a host without templates is no mistake */
        h->busy--;
        sandbox_host_check_stop(h);
        return;
    }
    source_open(h, build, on_default_source, h);
}

void pool_begin(struct sandbox_host *h)
{
    if (!h->config->pool_hot && !h->config->pool_waiting)
        return;
    h->busy++;
    store_template_find(h->store, SANDBOX_DEFAULT_TEMPLATE, "", on_default_template, h);
}

void pool_vm_ended(struct sandbox_own *own, const char *detail)
{
    spare_vm_ended(own->spare, detail);
}

struct pool *pool_new(struct sandbox_host *h)
{
    struct pool *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->host = h;
    list_init(&p->images);
    list_init(&p->spares);
    uv_timer_init(h->loop, &p->timer);
    uv_timer_init(h->loop, &p->command_timer);
    p->timer.data = p->command_timer.data = p;
    p->handles = 2;
    return p;
}

void pool_stop(struct sandbox_host *h)
{
    struct pool *p = h->pool;
    struct err why;
    err_fill(&why, ERR_UNAVAILABLE, "the daemon is stopping");
    p->stopping = true;
    uv_timer_stop(&p->timer);
    uv_timer_stop(&p->command_timer);
    list_for_each_safe (node, &p->images)
        forget_image(container_of(node, struct pool_image, node));
    list_for_each (node, &p->spares) {
        struct spare *s = container_of(node, struct spare, node);
        if (s->own->restore)
            restore_cancel(s->own, &why); /* its end drops the spare */
        else if (sm_state(&s->sm) != SPARE_TAKEN)
            spare_drop(s);
    }
}

bool pool_is_empty(const struct sandbox_host *h)
{
    return list_empty(&h->pool->spares);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct pool *p = handle->data;
    if (--p->handles == 0)
        free(p);
}

void pool_free(struct pool *p)
{
    uv_close((uv_handle_t *)&p->timer, on_timer_closed);
    uv_close((uv_handle_t *)&p->command_timer, on_timer_closed);
}
