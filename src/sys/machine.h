/* Which run of the machine this is. Source: random(4), the kernel's boot_id. Any thread. */
#ifndef METE_SYS_MACHINE_H
#define METE_SYS_MACHINE_H

#include <stdint.h>

/* The kernel's boot id, else what $MACHINE_BOOT_ID says (a service that sees nothing of /proc but
 * processes is told it by the manager, whose %b it is), else zeros: not known. */
void machine_boot_id(uint8_t ret_id[16]);

#endif
