/* May alice pass? cc example.c libmete.a -lsodium */
#include <mete/client.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    struct mete_client_options options = {.server = argc > 1 ? argv[1] : "127.0.0.1:6383"};
    const char *user = argc > 2 ? argv[2] : "alice";
    struct mete_client *client;
    struct mete_answer answer;
    if (mete_client_open(&options, &client) ||
        mete_client_check(client, "demo", user, strlen(user), 1, &answer))
        return 2;
    printf("%s: %s, %u left%s\n", user, answer.allowed ? "pass" : "wait", answer.remaining,
           answer.source == METE_SOURCE_SERVER ? "" : " (no answer, so this is the fallback)");
    mete_client_close(client);
    return !answer.allowed;
}
