fuzz_request.o: tests/fuzz/fuzz_request.c include/mete/wire.h \
  include/mete/mac.h include/mete/registry.h include/mete/wire_time.h

include/mete/wire.h:

include/mete/mac.h:

include/mete/registry.h:

include/mete/wire_time.h:
