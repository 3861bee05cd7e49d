/* Ways by name; see ways.h. */
#include "ways.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct way *find(const struct engine *e, const char *name)
{
    for (size_t i = 0; i < e->way_count; i++)
        if (strcmp(e->ways[i].name, name) == 0)
            return &e->ways[i];
    return NULL;
}

static struct way *add(struct engine *e)
{
    if (e->way_count == e->way_capacity) {
        size_t capacity = e->way_capacity == 0 ? REGISTRAR_CONTACTS : e->way_capacity * 2;
        struct way *more = realloc(e->ways, capacity * sizeof *more);
        if (more == NULL)
            return NULL;
        e->ways = more;
        e->way_capacity = capacity;
    }
    return &e->ways[e->way_count++];
}

const char *way_name(struct engine *e, const struct destination *to, const char *contact)
{
    char text[ADDRESS_TEXT], name[WAY_TEXT];
    struct way *way;

    destination_text(to, text);
    snprintf(name, sizeof name, "%s", text);
    for (unsigned n = 2; (way = find(e, name)) != NULL && strcmp(way->contact, contact) != 0; n++)
        snprintf(name, sizeof name, "%s#%u", text, n);
    if (way == NULL && (way = add(e)) == NULL)
        return NULL;
    strcpy(way->name, name);
    strcpy(way->contact, contact);
    way->to = *to;
    return way->name;
}

const struct way *way_find(const struct engine *e, const char *name)
{
    return find(e, name);
}
