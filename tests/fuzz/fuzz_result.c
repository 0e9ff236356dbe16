/* libFuzzer target: what a client does first with any datagram. Decodes all of it, encodes what
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
    struct mete_result_header header;
    if (mete_wire_decode_result(data, size, &header) != METE_WIRE_OK)
        return 0;
    size_t body = mete_wire_result_body(header.type, header.flags, header.n);
    require(header.n <= METE_WIRE_MAX_CHECKS);
    require(size == METE_WIRE_RESULT_HEADER_BYTES + body + METE_WIRE_TAG_BYTES);
    mete_wire_encode_result_header(again, &header);
    require(memcmp(again, data, METE_WIRE_RESULT_HEADER_BYTES) == 0);
    if (header.type == (METE_HELLO | METE_RESULT) && header.n) {
        struct mete_hello_result hello = mete_wire_decode_hello_result(data);
        mete_wire_encode_hello_result(again, &hello);
        require(memcmp(again, data, METE_WIRE_RESULT_HEADER_BYTES + body) == 0);
    } else if (header.flags & METE_RESULT_MIN) {
        unsigned allowed = 0;
        for (unsigned i = 0; i < header.n; i++)
            allowed += mete_wire_decode_min(data, i) ? 1 : 0;
        require(allowed <= header.n);
    } else {
        for (unsigned i = 0; i < header.n; i++) {
            struct mete_verdict verdict = mete_wire_decode_verdict(data, i);
            uint64_t ns = mete_wire_time_ns(verdict.retry_after, verdict.unit & 15);
            enum mete_unit unit;
            mete_wire_encode_verdict(again, i, &verdict);
            require(ns == UINT64_MAX || mete_wire_time_ns(mete_wire_time(ns, &unit), unit) == ns);
        }
        for (size_t at = METE_WIRE_RESULT_HEADER_BYTES; at < size - METE_WIRE_TAG_BYTES; at++)
            require(again[at] == (at % 16 == 3 ? 0 : data[at])); /* byte 3 of an entry is ignored */
    }
    mete_wire_sign_result(again, size, mete_wire_tag(data, size), &key);
    require(mete_wire_verify_result(again, size, mete_wire_tag(data, size), &key));
    mete_wire_sign_result(again, size, mete_wire_tag(data, size), NULL);
    require(mete_wire_verify_result(again, size, mete_wire_tag(data, size), NULL));
    require(mete_wire_tag(again, size) == mete_wire_tag(data, size));
    return 0;
}
