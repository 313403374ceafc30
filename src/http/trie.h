/* SPDX-License-Identifier: MIT */
/*
 * http/trie.h - a router's table: hosts, and under each of them path segments.
 *
 * A node's children are in a hash table of their names; {name} is one more child, {name...} a list
 * of routes of its own. A search goes down fixed segments first and comes back for the others, and
 * sees no node twice. Adding fails for want of memory only.
 */
#ifndef PI_HTTP_TRIE_H
#define PI_HTTP_TRIE_H

#include "http/router.h"

enum {
    PI_SEGMENTS_MAX = 32, /* of a pattern; what is deeper in a path only {name...} matches */
};

struct pi_trie_node;

struct pi_trie_slot {
    char *name; /* NULL: free */
    size_t len;
    struct pi_trie_node *node;
};

/* From names to nodes. */
struct pi_trie_map {
    struct pi_trie_slot *slots;
    size_t cap, count; /* cap: a power of two, or 0 */
};

struct pi_trie_node {
    struct pi_trie_map children;
    struct pi_trie_node *param;
    struct pi_route *here, *rest;
};

/* A path, cut at its slashes, decoded; the pattern's are the same. */
struct pi_segments {
    struct pi_part part[PI_SEGMENTS_MAX];
    const char *tail[PI_SEGMENTS_MAX + 1]; /* the raw path from that segment on */
    int count;                             /* at most PI_SEGMENTS_MAX */
    bool is_longer, may_have_dots;
};

/* What a search asks and finds. */
struct pi_trie_search {
    struct pi_part method;
    uint8_t method_id; /* enum pi_h1_method */
    const struct pi_segments *segments;
    const struct pi_route *found;
    struct pi_part params[16]; /* raw {name...} last; PI_PARAMS_MAX */
    int param_count;
    /* Called with each route that has the path, but not the method. */
    void (*other)(void *ctx, const struct pi_route *route);
    void *ctx;
};

/* The node of a name, made if it is not there; NULL: no memory. */
struct pi_trie_node *pi_trie_child(struct pi_trie_map *map, const char *name, size_t len);
struct pi_trie_node *pi_trie_find_child(const struct pi_trie_map *map, struct pi_part name);
struct pi_trie_node *pi_trie_new(void);
void pi_trie_free(struct pi_trie_node *node);
void pi_trie_map_free(struct pi_trie_map *map);

/* Whether a route of that path serves the method; s->found has it then. */
bool pi_trie_search(const struct pi_trie_node *root, struct pi_trie_search *s);

#endif
