/* `api_keys` of a tenant: keys of the doors, known by their SHA-256 only. Loading only, one thread.
 */
#ifndef METE_CONFIG_API_KEYS_H
#define METE_CONFIG_API_KEYS_H

struct node;
struct report;
struct tenant;

/* Results: 0, -EINVAL, -ENOMEM, reported; api_keys_free() frees what was made either way. */
int api_keys_parse(const struct report *report, const struct node *list, struct tenant *tenant);
void api_keys_free(struct tenant *tenant);

#endif
