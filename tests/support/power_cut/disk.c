#include "tests/support/power_cut/disk.h"

#include <errno.h>
#include <error.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct bytes {
    uint8_t *data;
    size_t n;
};

struct entry {
    char name[NAME_MAX + 1];
    int node;
};

struct names {
    struct entry *items;
    size_t n;
};

struct contents {
    struct bytes bytes; /* of a file */
    uint64_t version;   /* of the bytes */
    struct names names; /* of a directory */
};

struct node {
    bool is_dir;
    char *external;
    struct contents cache, lasting;
};

/* An fsync that has begun. */
struct pending {
    uint64_t id;
    int node;
    struct contents then;
};

struct disk {
    struct node *nodes;
    size_t nnodes;
    struct pending *pending;
    size_t npending;
    uint64_t versions;
};

static void *need(void *p)
{
    if (!p)
        error(99, ENOMEM, "power cut");
    return p;
}

static void contents_free(struct contents *c)
{
    free(c->bytes.data);
    free(c->names.items);
    *c = (struct contents){ 0 };
}

static struct contents contents_copy(const struct contents *c)
{
    struct contents copy = *c;
    size_t names = c->names.n * sizeof(*c->names.items);
    copy.bytes.data = need(malloc(c->bytes.n + 1));
    copy.names.items = need(malloc(names + 1));
    if (c->bytes.n)
        memcpy(copy.bytes.data, c->bytes.data, c->bytes.n);
    if (names)
        memcpy(copy.names.items, c->names.items, names);
    return copy;
}

struct disk *disk_new(void)
{
    struct disk *d = need(calloc(1, sizeof(*d)));
    disk_add_node(d, true);
    return d;
}

void disk_free(struct disk *d)
{
    for (size_t i = 0; i < d->nnodes; i++) {
        contents_free(&d->nodes[i].cache);
        contents_free(&d->nodes[i].lasting);
        free(d->nodes[i].external);
    }
    for (size_t i = 0; i < d->npending; i++)
        contents_free(&d->pending[i].then);
    free(d->nodes);
    free(d->pending);
    free(d);
}

struct disk *disk_copy(const struct disk *d)
{
    struct disk *copy = need(calloc(1, sizeof(*copy)));
    for (size_t i = 0; i < d->nnodes; i++) {
        const struct node *n = &d->nodes[i];
        disk_add_node(copy, n->is_dir);
        copy->nodes[i].cache = contents_copy(&n->cache);
        copy->nodes[i].lasting = contents_copy(&n->lasting);
        if (n->external)
            disk_set_external(copy, (int)i, n->external);
    }
    copy->versions = d->versions;
    return copy;
}

int disk_add_node(struct disk *d, bool is_dir)
{
    d->nodes = need(reallocarray(d->nodes, d->nnodes + 1, sizeof(*d->nodes)));
    d->nodes[d->nnodes] = (struct node){ .is_dir = is_dir };
    return (int)d->nnodes++;
}

void disk_set_external(struct disk *d, int node, const char *path)
{
    d->nodes[node].external = need(strdup(path));
}

void disk_sync_all(struct disk *d)
{
    for (size_t i = 0; i < d->nnodes; i++) {
        contents_free(&d->nodes[i].lasting);
        d->nodes[i].lasting = contents_copy(&d->nodes[i].cache);
    }
}

static struct entry *find(const struct names *names, const char *name)
{
    for (size_t i = 0; i < names->n; i++)
        if (strcmp(names->items[i].name, name) == 0)
            return &names->items[i];
    return NULL;
}

int disk_find(const struct disk *d, int dir, const char *name)
{
    const struct entry *e = find(&d->nodes[dir].cache.names, name);
    return e ? e->node : -1;
}

static void set_name(struct names *names, const char *name, int node)
{
    struct entry *e = find(names, name);
    if (!e) {
        names->items = need(reallocarray(names->items, names->n + 1, sizeof(*names->items)));
        e = &names->items[names->n++];
        snprintf(e->name, sizeof(e->name), "%s", name);
    }
    e->node = node;
}

/* The node that had the name, -1 for none. */
static int take_name(struct names *names, const char *name)
{
    struct entry *e = find(names, name);
    if (!e)
        return -1;
    int node = e->node;
    *e = names->items[--names->n];
    return node;
}

static void resize(struct bytes *b, size_t n)
{
    b->data = need(realloc(b->data, n + 1));
    if (n > b->n)
        memset(b->data + b->n, 0, n - b->n);
    b->n = n;
}

static void sync_begin(struct disk *d, const struct disk_op *op)
{
    d->pending = need(reallocarray(d->pending, d->npending + 1, sizeof(*d->pending)));
    d->pending[d->npending++] =
        (struct pending){ op->offset, op->at, contents_copy(&d->nodes[op->at].cache) };
}

static void sync_end(struct disk *d, const struct disk_op *op)
{
    for (size_t i = 0; i < d->npending; i++) {
        struct pending *p = &d->pending[i];
        if (p->id != op->offset)
            continue;
        contents_free(&d->nodes[p->node].lasting);
        d->nodes[p->node].lasting = p->then;
        *p = d->pending[--d->npending];
        return;
    }
}

void disk_apply(struct disk *d, const struct disk_op *op)
{
    while (op->kind == DISK_CREATE && op->node >= (int)d->nnodes)
        disk_add_node(d, op->is_dir);
    struct contents *at = &d->nodes[op->at].cache;
    bool writes = op->kind == DISK_WRITE || op->kind == DISK_TRUNCATE;
    if (writes && d->nodes[op->at].external)
        error(99, 0, "power cut: %s is too large to be written here", d->nodes[op->at].external);
    if (writes)
        at->version = ++d->versions;
    switch (op->kind) {
    case DISK_CREATE:
        set_name(&at->names, op->name, op->node);
        break;
    case DISK_UNLINK:
        take_name(&at->names, op->name);
        break;
    case DISK_RENAME:
        set_name(&d->nodes[op->node].cache.names, op->to_name, take_name(&at->names, op->name));
        break;
    case DISK_WRITE:
        if (op->offset + op->n > at->bytes.n)
            resize(&at->bytes, op->offset + op->n);
        if (op->n)
            memcpy(at->bytes.data + op->offset, op->data, op->n);
        break;
    case DISK_TRUNCATE:
        resize(&at->bytes, op->offset);
        break;
    case DISK_SYNC_BEGIN:
        sync_begin(d, op);
        break;
    case DISK_SYNC_END:
        sync_end(d, op);
        break;
    }
}

const char *disk_view_name(enum disk_view view)
{
    static const char *const names[] = { "all", "least", "names", "sizes", "bytes" };
    return view < DISK_VIEWS ? names[view] : "?";
}

/* What a view is made of. */
static bool shows_cached_bytes(enum disk_view view)
{
    return view == DISK_ALL || view == DISK_BYTES;
}

static const struct names *names_of(const struct node *dir, enum disk_view view)
{
    bool least = view == DISK_LEAST || view == DISK_BYTES;
    return least ? &dir->lasting.names : &dir->cache.names;
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t x = a * UINT64_C(0x9e3779b97f4a7c15) + b;
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static uint64_t digest_of_name(const char *name)
{
    uint64_t sum = 0;
    while (*name)
        sum = mix(sum, (uint8_t)*name++);
    return sum;
}

static uint64_t digest_of_node(const struct disk *d, int node, enum disk_view view)
{
    const struct node *n = &d->nodes[node];
    const struct names *names = names_of(n, view);
    const struct contents *c = shows_cached_bytes(view) ? &n->cache : &n->lasting;
    uint64_t sum = mix((uint64_t)node, n->is_dir ? 0 : c->version);
    if (view == DISK_SIZES)
        sum = mix(sum, n->cache.bytes.n);
    for (size_t i = 0; i < names->n; i++) /* in whatever order */
        sum += mix(digest_of_name(names->items[i].name),
                   digest_of_node(d, names->items[i].node, view));
    return sum;
}

uint64_t disk_view_digest(const struct disk *d, enum disk_view view)
{
    return digest_of_node(d, 0, view);
}

static void write_file(const struct node *n, enum disk_view view, const char *path)
{
    const struct bytes *b = shows_cached_bytes(view) ? &n->cache.bytes : &n->lasting.bytes;
    if (n->external) {
        if (link(n->external, path) < 0)
            error(99, errno, "power cut: %s", path);
        return;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, b->data, b->n) != (ssize_t)b->n ||
        (view == DISK_SIZES && ftruncate(fd, (off_t)n->cache.bytes.n) < 0))
        error(99, errno, "power cut: %s", path);
    close(fd);
}

static void make_dir(const struct disk *d, int node, enum disk_view view, const char *path)
{
    const struct names *names = names_of(&d->nodes[node], view);
    char child[PATH_MAX];
    for (size_t i = 0; i < names->n; i++) {
        const struct node *n = &d->nodes[names->items[i].node];
        if (snprintf(child, sizeof(child), "%s/%s", path, names->items[i].name) >=
            (int)sizeof(child))
            error(99, ENAMETOOLONG, "power cut");
        if (!n->is_dir) {
            write_file(n, view, child);
            continue;
        }
        if (mkdir(child, 0700) < 0)
            error(99, errno, "power cut: %s", child);
        make_dir(d, names->items[i].node, view, child);
    }
}

void disk_view_make(const struct disk *d, enum disk_view view, const char *path)
{
    make_dir(d, 0, view, path);
}
