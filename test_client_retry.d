test_client_retry.o: tests/unit/test_client_retry.c \
  tests/unit/client_fake.h include/mete/client.h include/mete/wire.h \
  include/mete/mac.h include/mete/registry.h include/mete/wire_time.h

tests/unit/client_fake.h:

include/mete/client.h:

include/mete/wire.h:

include/mete/mac.h:

include/mete/registry.h:

include/mete/wire_time.h:
