test_config_secrets.o: tests/unit/test_config_secrets.c \
  src/config/config.h src/config/calendars.h src/core/calendar.h \
  src/core/limit.h src/core/key.h src/sys/memory.h

src/config/config.h:

src/config/calendars.h:

src/core/calendar.h:

src/core/limit.h:

src/core/key.h:

src/sys/memory.h:
