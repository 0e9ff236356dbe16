test_client_servers.o: tests/unit/test_client_servers.c \
  tests/unit/client_trio.h tests/unit/client_fake.h \
  include/mete/client.h include/mete/wire.h include/mete/mac.h \
  include/mete/registry.h include/mete/wire_time.h

tests/unit/client_trio.h:

tests/unit/client_fake.h:

include/mete/client.h:

include/mete/wire.h:

include/mete/mac.h:

include/mete/registry.h:

include/mete/wire_time.h:
