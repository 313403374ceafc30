/* SPDX-License-Identifier: MIT */
/*
 * http/trie.c - the table of trie.h.
 *
 * The names in it are the program's, never a client's: the hash needs no secret. What a client
 * sends is only looked up.
 */
#include "http/trie.h"

#include "base/sys.h"

#include <string.h>

enum { FIRST_CAP = 4 };

/* FNV-1a: segments are short. */
static size_t hash(const char *name, size_t len)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)name[i]) * 16777619u;
    return h ^ (h >> 15);
}

/* The slot of a name, or the free one where it would be. */
static struct pi_trie_slot *slot_of(const struct pi_trie_map *map, const char *name, size_t len)
{
    size_t at = hash(name, len) & (map->cap - 1);
    while (map->slots[at].name &&
           (map->slots[at].len != len || (len > 0 && memcmp(map->slots[at].name, name, len) != 0)))
        at = (at + 1) & (map->cap - 1);
    return &map->slots[at];
}

/* At most three quarters are taken, so every search meets a free one. */
static bool make_room(struct pi_trie_map *map)
{
    if (map->cap > 0 && map->count < map->cap / 4 * 3)
        return true;
    struct pi_trie_map bigger = { .cap = map->cap ? map->cap * 2 : FIRST_CAP, .count = map->count };
    bigger.slots = pi_zalloc(bigger.cap * sizeof *bigger.slots);
    if (!bigger.slots)
        return false;
    for (size_t i = 0; i < map->cap; i++)
        if (map->slots[i].name)
            *slot_of(&bigger, map->slots[i].name, map->slots[i].len) = map->slots[i];
    pi_free(map->slots);
    *map = bigger;
    return true;
}

struct pi_trie_node *pi_trie_find_child(const struct pi_trie_map *map, struct pi_part name)
{
    return map->cap ? slot_of(map, name.at, name.len)->node : NULL;
}

struct pi_trie_node *pi_trie_new(void)
{
    return pi_zalloc(sizeof(struct pi_trie_node));
}

struct pi_trie_node *pi_trie_child(struct pi_trie_map *map, const char *name, size_t len)
{
    struct pi_trie_node *known = pi_trie_find_child(map, (struct pi_part){ name, len });
    if (known || !make_room(map))
        return known;
    char *copy = pi_alloc(len + 1);
    struct pi_trie_node *node = pi_trie_new();
    if (!copy || !node) {
        pi_free(copy);
        pi_free(node);
        return NULL;
    }
    memcpy(copy, name, len);
    copy[len] = '\0';
    *slot_of(map, name, len) = (struct pi_trie_slot){ copy, len, node };
    map->count++;
    return node;
}

void pi_trie_map_free(struct pi_trie_map *map)
{
    for (size_t i = 0; i < map->cap; i++) {
        pi_free(map->slots[i].name);
        pi_trie_free(map->slots[i].node);
    }
    pi_free(map->slots);
    *map = (struct pi_trie_map){ 0 };
}

/* As deep as patterns are: PI_SEGMENTS_MAX. */
void pi_trie_free(struct pi_trie_node *node)
{
    if (!node)
        return;
    pi_trie_map_free(&node->children);
    pi_trie_free(node->param);
    pi_free(node);
}

/* ---- searching ---- */

/* Whether a route serves the method, and how well: 3 by its name, 2 GET for HEAD, 1 as any; 0 not.
 */
static int rank(const struct pi_route *r, const struct pi_trie_search *s)
{
    if (!r->method)
        return 1;
    if (r->method_id != s->method_id)
        return r->method_id == PI_H1_GET && s->method_id == PI_H1_HEAD ? 2 : 0;
    if (s->method_id != PI_H1_OTHER_METHOD)
        return 3;
    bool is_same = strlen(r->method) == s->method.len &&
                   memcmp(r->method, s->method.at, s->method.len) == 0;
    return is_same ? 3 : 0;
}

static bool choose(const struct pi_route *list, struct pi_trie_search *s)
{
    int best = 0;
    for (const struct pi_route *r = list; r; r = r->next) {
        int here = rank(r, s);
        if (here > best) {
            best = here;
            s->found = r;
        }
    }
    for (const struct pi_route *r = list; r && best == 0; r = r->next)
        s->other(s->ctx, r);
    return best > 0;
}

/* As deep as patterns are. */
static bool search(const struct pi_trie_node *node, struct pi_trie_search *s, int at)
{
    const struct pi_segments *p = s->segments;
    bool is_end = at == p->count && !p->is_longer;
    if (is_end && node->here && choose(node->here, s))
        return true;
    if (at < p->count) {
        struct pi_trie_node *child = pi_trie_find_child(&node->children, p->part[at]);
        if (child && search(child, s, at + 1))
            return true;
    }
    if (at < p->count && node->param && p->part[at].len > 0) {
        s->params[s->param_count++] = p->part[at];
        if (search(node->param, s, at + 1))
            return true;
        s->param_count--;
    }
    if (!node->rest || is_end)
        return false;
    s->params[s->param_count++] = (struct pi_part){ p->tail[at], 0 };
    if (choose(node->rest, s))
        return true;
    s->param_count--;
    return false;
}

bool pi_trie_search(const struct pi_trie_node *root, struct pi_trie_search *s)
{
    s->found = NULL;
    s->param_count = 0;
    return search(root, s, 0);
}
