test_descriptors.o: tests/unit/test_descriptors.c src/config/config.h \
  src/config/calendars.h src/core/calendar.h src/core/limit.h \
  src/core/key.h src/config/descriptors.h tests/lib/random.h

src/config/config.h:

src/config/calendars.h:

src/core/calendar.h:

src/core/limit.h:

src/core/key.h:

src/config/descriptors.h:

tests/lib/random.h:
