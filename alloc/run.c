/* SPDX-License-Identifier: MIT */
/*
 * run -- the treaps of free runs and the age list.
 *
 * A treap needs no balance fields: the heap order is by a hash of the unit index, so its shape is
 * that of a random tree.
 *
 * Locks: the page heap's, held by every caller.  May sleep: no.  May fault: no.  Allocates:
 * nothing.
 */
#include "alloc/run.h"

static uint32_t weight(uint32_t unit)
{
    uint32_t x = unit * 2654435769u;
    x ^= x >> 15;
    return x * 2246822519u;
}

static bool less(uint32_t a, uint32_t b)
{
    uint32_t x = za_spans[a].units, y = za_spans[b].units;
    return x < y || (x == y && a < b);
}

static void tree_insert(uint32_t *root, uint32_t unit)
{
    while (*root != ZA_NO_UNIT && weight(*root) >= weight(unit))
        root = less(unit, *root) ? &za_spans[*root].left : &za_spans[*root].right;
    /* Split what hangs here around the new node. */
    uint32_t *lo = &za_spans[unit].left, *hi = &za_spans[unit].right, t = *root;
    *root = unit;
    while (t != ZA_NO_UNIT) {
        if (less(t, unit)) {
            *lo = t;
            lo = &za_spans[t].right;
            t = *lo;
        } else {
            *hi = t;
            hi = &za_spans[t].left;
            t = *hi;
        }
    }
    *lo = *hi = ZA_NO_UNIT;
}

static void tree_remove(uint32_t *root, uint32_t unit)
{
    while (*root != unit) {
        ZA_DASSERT(*root != ZA_NO_UNIT);
        root = less(unit, *root) ? &za_spans[*root].left : &za_spans[*root].right;
    }
    uint32_t l = za_spans[unit].left, r = za_spans[unit].right;
    /* Merge its two sides into its place. */
    while (l != ZA_NO_UNIT && r != ZA_NO_UNIT) {
        if (weight(l) >= weight(r)) {
            *root = l;
            root = &za_spans[l].right;
            l = *root;
        } else {
            *root = r;
            root = &za_spans[r].left;
            r = *root;
        }
    }
    *root = l != ZA_NO_UNIT ? l : r;
}

static void age_insert(struct za_runs *r, uint32_t unit, uint32_t older)
{
    uint32_t younger = older == ZA_NO_UNIT ? r->oldest : za_spans[older].next;
    za_spans[unit].prev = older;
    za_spans[unit].next = younger;
    *(older == ZA_NO_UNIT ? &r->oldest : &za_spans[older].next) = unit;
    *(younger == ZA_NO_UNIT ? &r->youngest : &za_spans[younger].prev) = unit;
}

static void age_remove(struct za_runs *r, uint32_t unit)
{
    uint32_t older = za_spans[unit].prev, younger = za_spans[unit].next;
    *(older == ZA_NO_UNIT ? &r->oldest : &za_spans[older].next) = younger;
    *(younger == ZA_NO_UNIT ? &r->youngest : &za_spans[younger].prev) = older;
}

void za_runs_init(struct za_runs *r)
{
    *r = (struct za_runs){
        .root = {ZA_NO_UNIT, ZA_NO_UNIT}, .oldest = ZA_NO_UNIT, .youngest = ZA_NO_UNIT};
}

void za_runs_insert(struct za_runs *r, uint32_t unit, uint32_t older)
{
    tree_insert(&r->root[za_run_dirt(unit)], unit);
    r->free_units += za_spans[unit].units;
    if (za_run_dirt(unit) == ZA_CLEAN)
        return;
    age_insert(r, unit, older);
    r->dirty_units += za_spans[unit].units;
}

void za_runs_remove(struct za_runs *r, uint32_t unit)
{
    tree_remove(&r->root[za_run_dirt(unit)], unit);
    r->free_units -= za_spans[unit].units;
    if (za_run_dirt(unit) == ZA_CLEAN)
        return;
    age_remove(r, unit);
    r->dirty_units -= za_spans[unit].units;
}

uint32_t za_runs_find(const struct za_runs *r, enum za_dirt dirt, uint32_t units)
{
    uint32_t best = ZA_NO_UNIT, t = r->root[dirt];
    while (t != ZA_NO_UNIT) {
        if (za_spans[t].units >= units) {
            best = t;
            t = za_spans[t].left;
        } else {
            t = za_spans[t].right;
        }
    }
    return best;
}

static size_t check_tree(uint32_t t, enum za_dirt dirt, uint64_t *units)
{
    if (t == ZA_NO_UNIT)
        return 0;
    const struct za_span *s = &za_spans[t];
    ZA_ASSERT(s->kind == ZA_RUN_FREE && za_run_dirt(t) == dirt);
    ZA_ASSERT(s->left == ZA_NO_UNIT || (less(s->left, t) && weight(s->left) <= weight(t)));
    ZA_ASSERT(s->right == ZA_NO_UNIT || (less(t, s->right) && weight(s->right) <= weight(t)));
    *units += s->units;
    return 1 + check_tree(s->left, dirt, units) + check_tree(s->right, dirt, units);
}

size_t za_runs_check(const struct za_runs *r)
{
    uint64_t clean_units = 0, dirty_units = 0;
    size_t clean = check_tree(r->root[ZA_CLEAN], ZA_CLEAN, &clean_units);
    size_t dirty = check_tree(r->root[ZA_DIRTY], ZA_DIRTY, &dirty_units), listed = 0;
    ZA_ASSERT(dirty_units == r->dirty_units && clean_units + dirty_units == r->free_units);
    uint32_t older = ZA_NO_UNIT;
    for (uint32_t u = r->oldest; u != ZA_NO_UNIT; u = za_spans[u].next, listed++) {
        ZA_ASSERT(za_spans[u].prev == older);
        ZA_ASSERT(older == ZA_NO_UNIT || za_spans[older].since <= za_spans[u].since);
        older = u;
    }
    ZA_ASSERT(older == r->youngest && listed == dirty);
    return clean + dirty;
}
