/* Tags of many datagrams at once.
 *
 * SipHash is one chain of dependent steps, so a core that computes one tag after the other leaves
 * most of its units idle. Datagrams of a batch mostly have one length; eight of them go through the
 * same steps side by side, in the lanes of vector registers. The tags are those of mete_mac() and
 * mete_mac_result(), bit by bit.
 *
 * Source: mete/mac.h. Threads: any. */
#ifndef METE_NET_TAGS_H
#define METE_NET_TAGS_H

#include <stdbool.h>
#include <stdint.h>

#include "mete/mac.h"

/* Has this machine registers for it (AVX-512)? With those of AVX2 it was no faster than one after
 * the other, because the state of eight lanes does not fit them. */
bool tags_has_lanes(void);

struct tags_job {
    const struct mete_mac_key *key;
    const uint8_t *bytes;
    uint32_t len; /* a multiple of 8 */
    uint32_t has_request_tag;
    uint64_t request_tag; /* a result: goes in front of the bytes */
};

/* ret_tags[i] is the tag of jobs[i]. has_lanes: of tags_has_lanes(), or false. */
void tags_compute(bool has_lanes, const struct tags_job *jobs, unsigned count, uint64_t *ret_tags);

#endif
