#include "orchestrator/vmm/qemu/op.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void on_run(struct deferred *d)
{
    struct vm_op *op = container_of(d, struct vm_op, defer);
    op->type->run(op);
}

void *op_new(struct vmm *v, size_t size, const struct vm_op_type *type)
{
    struct vm_op *op = calloc(1, size);
    if (!op)
        abort();
    op->type = type;
    op->v = v;
    list_push_back(&v->ops, &op->node);
    defer(v->driver->defer, &op->defer, on_run);
    return op;
}

static void on_news(struct deferred *d)
{
    struct vm_op *op = container_of(d, struct vm_op, defer);
    struct err err = op->news;
    op->type->answer(op, NULL, &err);
}

void op_fail(struct vm_op *op, enum err_code code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    op->news = (struct err){ .code = code };
    vsnprintf(op->news.msg, sizeof(op->news.msg), fmt, ap);
    va_end(ap);
    defer(op->v->driver->defer, &op->defer, on_news);
}

static void on_answer(void *user, const json_t *result, const struct err *err)
{
    struct vm_op *op = user;
    if (err && err->code == ERR_DEADLINE)
        vm_kill_unanswering(op->v);
    if (!err || err->code != ERR_UNAVAILABLE) {
        op->type->answer(op, result, err);
        return;
    }
    /* QEMU is gone, and its last words say why. */
    struct err why = *err;
    size_t n = strlen(why.msg);
    vm_log_words(op->v, why.msg + n, sizeof(why.msg) - n);
    op->type->answer(op, NULL, &why);
}

void op_command(struct vm_op *op, const char *command, json_t *arguments, int fd)
{
    struct vmm *v = op->v;
    int rc = -ENOTCONN;
    if (sm_state(&v->sm) != VM_RUNNING)
        json_decref(arguments);
    else if (fd >= 0)
        rc = qmp_execute_fd(&v->qmp, command, arguments, fd, v->driver->ping_deadline_ms, on_answer,
                            op);
    else
        rc = qmp_execute(&v->qmp, command, arguments, v->driver->ping_deadline_ms, on_answer, op);
    if (rc == -ENOTCONN)
        op_fail(op, ERR_PRECONDITION, "the VM is not running");
    else if (rc < 0)
        op_fail(op, ERR_EXHAUSTED, "cannot send %s to QEMU: %s", command, strerror(-rc));
}

static void on_work(uv_work_t *work)
{
    struct vm_op *op = container_of(work, struct vm_op, work);
    op->work_fn(op);
}

static void on_worked(uv_work_t *work, int status)
{
    struct vm_op *op = container_of(work, struct vm_op, work);
    (void)status;
    op->working = false;
    if (sm_state(&op->v->sm) == VM_CLOSING)
        vm_handle_closed(op->v);
    else
        op->type->answer(op, NULL, op->err.code ? &op->err : NULL);
}

void op_work(struct vm_op *op, void (*fn)(struct vm_op *op))
{
    op->work_fn = fn;
    int rc = uv_queue_work(op->v->timer.loop, &op->work, on_work, on_worked);
    if (rc < 0)
        op_fail(op, ERR_EXHAUSTED, "cannot start a worker: %s", uv_strerror(rc));
    else
        op->working = true;
}

void op_end(struct vm_op *op)
{
    assert(!op->working);
    list_remove(&op->node);
    defer_cancel(&op->defer);
    vm_make_plain(op->err.msg);
    if (!op->v->destroying)
        op->type->tell(op);
    op->type->drop(op);
}

bool op_is_busy(const struct vm_op *op, const struct vm_op_type *type)
{
    list_for_each (node, &op->v->ops) {
        const struct vm_op *other = container_of(node, struct vm_op, node);
        if (other != op && other->type == type)
            return true;
    }
    return false;
}
