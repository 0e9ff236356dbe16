fuzz_result.o: tests/fuzz/fuzz_result.c include/mete/wire.h \
  include/mete/mac.h include/mete/registry.h include/mete/wire_time.h

include/mete/wire.h:

include/mete/mac.h:

include/mete/registry.h:

include/mete/wire_time.h:
