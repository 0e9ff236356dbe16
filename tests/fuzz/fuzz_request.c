/* libFuzzer target: what a server does first with any datagram. Decodes all of it, encodes what
 * decoded and asserts that nothing was lost. Build: clang -fsanitize=fuzzer,address,undefined. */
#include <stdlib.h>

#include "mete/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct mete_mac_key key = {1, 2};
    uint8_t again[METE_WIRE_MAX_BYTES];
    struct mete_header header, header_again;
    if (mete_wire_decode_header(data, size, &header) != METE_WIRE_OK)
        return 0;
    require(mete_wire_result_bytes(header.type | METE_RESULT, 0, header.n) <= size);
    mete_wire_verify_request(data, size, &key);
    mete_wire_verify_request(data, size, NULL);
    mete_wire_encode_header(again, &header);
    for (unsigned i = 0; i < header.n; i++) {
        struct mete_entry entry;
        if (mete_wire_decode_entry(data, &header, i, &entry) != 0)
            return 0;
        mete_wire_encode_entry(again, &header, i, &entry);
    }
    size_t len = mete_wire_request_bytes(header.n, header.entry_bytes);
    mete_wire_sign_request(again, len, &key);
    require(mete_wire_decode_header(again, len, &header_again) == METE_WIRE_OK);
    require(mete_wire_verify_request(again, len, &key));
    mete_wire_sign_request(again, len, NULL);
    require(mete_wire_verify_request(again, len, NULL));
    require(mete_wire_tag(again, len) == (header.client | (uint64_t)header.sequence << 32));
    require(header_again.tenant == header.tenant && header_again.n == header.n);
    for (unsigned i = 0; i < header.n; i++) {
        struct mete_entry a, b;
        require(mete_wire_decode_entry(data, &header, i, &a) == 0);
        require(mete_wire_decode_entry(again, &header_again, i, &b) == 0);
        require(a.rule == b.rule && a.cost == b.cost && a.key_low == b.key_low &&
                a.key_high == b.key_high && a.lease == b.lease && a.limit_count == b.limit_count &&
                a.limit_burst == b.limit_burst && a.limit_period_ns == b.limit_period_ns &&
                a.subject_len == b.subject_len);
        require(a.subject_len == 0 || memcmp(a.subject, b.subject, a.subject_len) == 0);
    }
    return 0;
}
