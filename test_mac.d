test_mac.o: tests/unit/test_mac.c include/mete/wire.h include/mete/mac.h \
  include/mete/registry.h include/mete/wire_time.h

include/mete/wire.h:

include/mete/mac.h:

include/mete/registry.h:

include/mete/wire_time.h:
