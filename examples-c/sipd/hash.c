/* SipHash-2-4 (Aumasson, Bernstein) with one key for the whole server; see hash.h. */
#include "hash.h"

#include <string.h>
#include <sys/random.h>

static uint64_t key[2];

bool hash_draw_key(void)
{
    return getrandom(key, sizeof key, 0) == (ssize_t)sizeof key;
}

static uint64_t rotate(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

static void rounds(uint64_t v[4], int count)
{
    while (count-- > 0) {
        v[0] += v[1], v[1] = rotate(v[1], 13) ^ v[0], v[0] = rotate(v[0], 32);
        v[2] += v[3], v[3] = rotate(v[3], 16) ^ v[2];
        v[0] += v[3], v[3] = rotate(v[3], 21) ^ v[0];
        v[2] += v[1], v[1] = rotate(v[1], 17) ^ v[2], v[2] = rotate(v[2], 32);
    }
}

static void add_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    rounds(v, 2);
    v[0] ^= word;
}

uint64_t hash_of(const struct str *pieces, size_t count)
{
    uint64_t v[4] = {0x736f6d6570736575u ^ key[0], 0x646f72616e646f6du ^ key[1],
                     0x6c7967656e657261u ^ key[0], 0x7465646279746573u ^ key[1]};

    for (size_t i = 0; i < count; i++) {
        struct str s = pieces[i];
        for (; s.len >= 8; s.s += 8, s.len -= 8) {
            uint64_t word;
            memcpy(&word, s.s, 8);
            add_word(v, word);
        }
        uint64_t last = (uint64_t)pieces[i].len << 56;
        for (size_t k = 0; k < s.len; k++)
            last |= (uint64_t)(unsigned char)s.s[k] << (8 * k);
        add_word(v, last);
    }
    v[2] ^= 0xff;
    rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
