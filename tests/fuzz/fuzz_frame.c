/* frame_decode() and frame_answer() on any bytes: no read or write outside, and the answer to a
 * frame that was read is one that can be read, back from where it went. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "net/frame.h"
#include "obs/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 2048)
        return 0;
    uint8_t *bytes = malloc(size ? size : 1); /* exactly as long, for the sanitizer */
    struct frame frame, back;
    memcpy(bytes, data, size);
    if (frame_decode(bytes, (uint32_t)size, &frame) == FRAME_OK) {
        ASSERT(frame.headers <= FRAME_MAX_HEADERS && frame.headers + frame.len <= size);
        const uint32_t len = frame.len / 2;
        const uint32_t whole = frame_answer(bytes, frame.headers, len);
        ASSERT(whole == frame.headers + len);
        enum frame_fate fate = frame_decode(bytes, whole, &back);
        /* the asked address may be one that nobody can be answered at, such as port 0 */
        ASSERT(fate == FRAME_OK || fate == FRAME_BAD_ADDRESS || whole < FRAME_ETHERNET_BYTES + 4);
        if (fate == FRAME_OK)
            ASSERT(back.len == len && back.headers == frame.headers);
    }
    free(bytes);
    return 0;
}
