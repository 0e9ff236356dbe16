wire_feed.o: tests/property/wire_feed.c src/core/key.h \
  include/mete/wire.h include/mete/mac.h include/mete/registry.h \
  include/mete/wire_time.h

src/core/key.h:

include/mete/wire.h:

include/mete/mac.h:

include/mete/registry.h:

include/mete/wire_time.h:
