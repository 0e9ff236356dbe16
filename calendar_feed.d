calendar_feed.o: tests/property/calendar_feed.c src/config/calendars.h \
  src/core/calendar.h src/core/limit.h

src/config/calendars.h:

src/core/calendar.h:

src/core/limit.h:
