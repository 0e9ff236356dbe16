test_config.o: tests/unit/test_config.c src/config/config.h \
  src/config/calendars.h src/core/calendar.h src/core/limit.h \
  src/core/key.h

src/config/config.h:

src/config/calendars.h:

src/core/calendar.h:

src/core/limit.h:

src/core/key.h:
