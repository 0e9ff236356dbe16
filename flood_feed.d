flood_feed.o: tests/property/flood_feed.c tests/lib/random.h \
  include/mete/wire.h include/mete/mac.h include/mete/registry.h \
  include/mete/wire_time.h

tests/lib/random.h:

include/mete/wire.h:

include/mete/mac.h:

include/mete/registry.h:

include/mete/wire_time.h:
