/* The text is taken into the program as it stands beside this file (the Makefile knows that). */
#include "replica/link_script.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/key.h"

__asm__(".pushsection .rodata\n"
        ".global link_script_lua\n"
        "link_script_lua:\n"
        ".incbin \"src/replica/merge.lua\"\n"
        ".byte 0\n"
        ".popsection\n");
extern const char link_script_lua[];

int link_script_init(struct link_script *script)
{
    char head[96];

    *script = (struct link_script){.text = link_script_lua, .len = strlen(link_script_lua)};
    snprintf(script->version, sizeof(script->version), "%016" PRIx64,
             key_of_subject(script->text, script->len, 0).low);
    snprintf(script->merge, sizeof(script->merge), "mete_%s_merge", script->version);
    snprintf(script->beat, sizeof(script->beat), "mete_%s_beat", script->version);
    snprintf(head, sizeof(head), "#!lua name=mete_%s\nlocal LIBRARY = 'mete_%s'\n", script->version,
             script->version);
    int result = redis_buffer_append(&script->library, head, strlen(head));
    if (result == 0)
        result = redis_buffer_append(&script->library, script->text, script->len);
    return result;
}

void link_script_deinit(struct link_script *script)
{
    redis_buffer_free(&script->library);
}
