test_client_hostile.o: tests/unit/test_client_hostile.c \
  tests/lib/random.h tests/unit/client_fake.h include/mete/client.h \
  include/mete/wire.h include/mete/mac.h include/mete/registry.h \
  include/mete/wire_time.h

tests/lib/random.h:

tests/unit/client_fake.h:

include/mete/client.h:

include/mete/wire.h:

include/mete/mac.h:

include/mete/registry.h:

include/mete/wire_time.h:
