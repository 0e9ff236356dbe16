#include "net/control.h"

#include <netinet/udp.h>
#include <stddef.h>
#include <string.h>

uint32_t control_read_segment(struct msghdr *received)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(received); c; c = CMSG_NXTHDR(received, c)) {
        if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
            int size;
            memcpy(&size, CMSG_DATA(c), sizeof(size));
            return size > 0 ? (uint32_t)size : 0;
        }
    }
    return 0;
}

static uint32_t append(uint8_t *at, int level, int type, const void *data, size_t len)
{
    struct cmsghdr *c = (struct cmsghdr *)at;
    memset(c, 0, CMSG_SPACE(len));
    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(len);
    memcpy(CMSG_DATA(c), data, len);
    return (uint32_t)CMSG_SPACE(len);
}

uint32_t control_write_source(uint8_t *at, struct msghdr *received)
{
    if (!received->msg_controllen)
        return 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(received); c; c = CMSG_NXTHDR(received, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof(info));
            /* spec_dst is the address asked; the route decides the interface */
            info = (struct in_pktinfo){.ipi_spec_dst = info.ipi_spec_dst};
            return append(at, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
        }
        if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof(info));
            if (!IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
                info.ipi6_ifindex = 0;
            return append(at, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
        }
    }
    return 0;
}

uint32_t control_write_segment(uint8_t *control, uint32_t segment)
{
    uint16_t size = (uint16_t)segment;
    return append(control, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size));
}
