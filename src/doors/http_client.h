/* Who a client is by its address: an IPv4 host as it is written, of IPv6 the /64 that one household
 * has, "2001:db8:1:2::/64". Pure. Any thread. */
#ifndef METE_DOORS_HTTP_CLIENT_H
#define METE_DOORS_HTTP_CLIENT_H

#include "doors/http_parse.h"

#define HTTP_CLIENT_SIZE 64u

struct sockaddr_storage;

/* Of a connection; over a UNIX socket it is "unix". Result: its length. */
size_t http_client_of_peer(const struct sockaddr_storage *peer, char ret_text[HTTP_CLIENT_SIZE]);

/* Of what a proxy wrote into a header: of a list ("X-Forwarded-For: a, b") the last, which the
 * proxy added itself. What is no address is taken as it is. The result may lie in room or in value.
 */
struct http_text http_client_of_header(struct http_text value, char room[HTTP_CLIENT_SIZE]);

#endif
