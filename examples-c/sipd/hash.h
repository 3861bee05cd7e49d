/* Keyed hashes: branches, tags and tokens that nobody else can make. The key is drawn once, before any fork, so that
 * every worker computes the same (RFC 3261 16.11: a stateless proxy must). Called by reply.c, relay.c, registrar.c. */
#ifndef SIPD_HASH_H
#define SIPD_HASH_H
#include <stdint.h>
#include "text.h"

bool hash_draw_key(void);

/* SipHash-2-4 over the pieces; the length of each counts, so that moving a border changes the result. */
uint64_t hash_of(const struct str *pieces, size_t count);
#define HASH(...) hash_of((const struct str[]){__VA_ARGS__}, sizeof((const struct str[]){__VA_ARGS__}) / sizeof(struct str))
#endif
