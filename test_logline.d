test_logline.o: tests/unit/test_logline.c src/cmd/logline.h \
  src/cmd/logtime.h

src/cmd/logline.h:

src/cmd/logtime.h:
