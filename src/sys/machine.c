#include "sys/machine.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS 32u

/* 32 hex digits, with or without dashes, and nothing but a newline behind them. */
static bool parse(const char *text, uint8_t ret_id[16])
{
    unsigned digits = 0;

    memset(ret_id, 0, 16);
    for (; *text && *text != '\n'; text++) {
        if (*text == '-')
            continue;
        if (!isxdigit((unsigned char)*text) || digits == DIGITS)
            return false;
        const int value = isdigit((unsigned char)*text) ? *text - '0' : tolower(*text) - 'a' + 10;
        ret_id[digits / 2] = (uint8_t)(ret_id[digits / 2] << 4 | value);
        digits++;
    }
    return digits == DIGITS;
}

void machine_boot_id(uint8_t ret_id[16])
{
    char text[64] = "";
    const char *told = getenv("MACHINE_BOOT_ID");
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    const bool is_read = file && fgets(text, sizeof(text), file);

    if (file)
        fclose(file);
    if (!(is_read && parse(text, ret_id)) && !(told && parse(told, ret_id)))
        memset(ret_id, 0, 16);
}
