timing_probe.o: tests/e2e/timing_probe.c include/mete/wire.h \
  include/mete/mac.h include/mete/registry.h include/mete/wire_time.h

include/mete/wire.h:

include/mete/mac.h:

include/mete/registry.h:

include/mete/wire_time.h:
