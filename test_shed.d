test_shed.o: tests/unit/test_shed.c tests/lib/random.h src/net/shed.h \
  include/mete/wire.h include/mete/mac.h include/mete/registry.h \
  include/mete/wire_time.h src/net/gate.h

tests/lib/random.h:

src/net/shed.h:

include/mete/wire.h:

include/mete/mac.h:

include/mete/registry.h:

include/mete/wire_time.h:

src/net/gate.h:
