test_wire.o: tests/unit/test_wire.c include/mete/wire.h \
  include/mete/mac.h include/mete/registry.h include/mete/wire_time.h

include/mete/wire.h:

include/mete/mac.h:

include/mete/registry.h:

include/mete/wire_time.h:
