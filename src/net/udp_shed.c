/* What is left out in an overload, as the UDP front-end sees it: decided by a datagram's header
 * alone, before its tag is computed. Who is told so (SHED) must be believed like any other. */
#include "net/udp.h"

enum counter udp_shed(struct udp *udp, struct udp_request *request, const struct instant *now)
{
    const struct mete_header *header = &request->header;
    const struct shed_question question = {
        .header = header,
        .row = request->tenant->inline_index,
        .has_good_clock = header->boot == (uint16_t)udp->given.boot_id,
        .clock_ms = udp_clock_ms(now),
    };
    enum shed_fate fate = shed_judge(udp->shed, &question, now->now_ns);
    if (fate == SHED_NOT)
        return COUNTER_RECEIVED;
    if (udp->given.quota)
        counter_add(&udp->given.quota->credits[question.row].shed, header->n);
    if (fate != SHED_ANSWER)
        return fate == SHED_OLD ? COUNTER_SHED_OLD : COUNTER_SHED_SHARE;
    request->answer = UDP_ANSWER_STATUS;
    request->status = METE_STATUS_SHED;
    return COUNTER_RECEIVED;
}
