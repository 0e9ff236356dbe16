test_gate.o: tests/unit/test_gate.c include/mete/wire.h \
  include/mete/mac.h include/mete/registry.h include/mete/wire_time.h \
  src/net/filter.h src/net/gate.h src/net/socket.h

include/mete/wire.h:

include/mete/mac.h:

include/mete/registry.h:

include/mete/wire_time.h:

src/net/filter.h:

src/net/gate.h:

src/net/socket.h:
