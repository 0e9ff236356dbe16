test_filter.o: tests/unit/test_filter.c include/mete/wire.h \
  include/mete/mac.h include/mete/registry.h include/mete/wire_time.h \
  src/net/filter.h src/net/gate.h src/net/socket.h

include/mete/wire.h:

include/mete/mac.h:

include/mete/registry.h:

include/mete/wire_time.h:

src/net/filter.h:

src/net/gate.h:

src/net/socket.h:
