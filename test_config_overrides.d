test_config_overrides.o: tests/unit/test_config_overrides.c \
  src/config/config.h src/config/calendars.h src/core/calendar.h \
  src/core/limit.h src/core/key.h tests/lib/random.h

src/config/config.h:

src/config/calendars.h:

src/core/calendar.h:

src/core/limit.h:

src/core/key.h:

tests/lib/random.h:
