fuzz_tls.o: tests/fuzz/fuzz_tls.c src/doors/channel.h src/doors/tls.h \
  src/config/config.h src/config/calendars.h src/core/calendar.h \
  src/core/limit.h src/core/key.h src/doors/login.h src/doors/tls_load.h

src/doors/channel.h:

src/doors/tls.h:

src/config/config.h:

src/config/calendars.h:

src/core/calendar.h:

src/core/limit.h:

src/core/key.h:

src/doors/login.h:

src/doors/tls_load.h:
